"""The guard that looks for escaped secrets after every test, itself under test; and no key in the project's
own files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.support import leak_detector
from tests.support.databases import PostgresServer

ROOT = Path(__file__).parent.parent

LEAKS = """
import gzip, logging, sqlite3, sys
from contextlib import closing
import pytest
from tests.support import leak_detector

KEY, SIGNED = "standin-0123456789abcdef", "x.jpg?_nc_ohc=1&oe=6A&oh=00_Afabcdef"

@pytest.fixture(autouse=True)
def watched(tmp_path):
    leak_detector.watch_archive(tmp_path, lambda: KEY)

def stored(path, text):
    with closing(sqlite3.connect(path / "archive.db")) as database:
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (?)", (text,))
        database.commit()

def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

def test_bad_key_on_stdout(): print(KEY)
def test_bad_key_on_stderr(): print(KEY, file=sys.stderr)
def test_bad_key_read_by_the_test(capsys): print(KEY); capsys.readouterr()
def test_bad_key_written_at_a_descriptor(capfd): import os; os.write(1, KEY.encode()); capfd.readouterr()
def test_bad_key_in_a_debug_record(): logging.getLogger("httpcore.x").debug("head %s", KEY)
def test_bad_key_in_a_traceback():
    try: raise ValueError(KEY)
    except ValueError: logging.getLogger("a").exception("failed")
def test_bad_key_heard_of_a_process(): leak_detector.note_output(KEY)
def test_bad_key_in_a_row(tmp_path): stored(tmp_path, KEY)
def test_bad_key_in_the_log(tmp_path): written(tmp_path / "log" / "archiver.log", KEY.encode())
def test_bad_key_in_a_kept_answer(tmp_path):
    written(tmp_path / "answers" / "1.warc.gz", gzip.compress(b"one") + gzip.compress(KEY.encode()))
def test_bad_key_in_a_torn_kept_answer(tmp_path):
    whole, torn = gzip.compress(KEY.encode()), gzip.compress(b"one")[:9]
    written(tmp_path / "answers" / "1.warc.gz", whole + torn + b"torn")
def test_bad_key_in_a_blob(tmp_path): written(tmp_path / "blobs" / "ab" / "abcd", KEY.encode())
def test_bad_signature_on_stdout(): print(SIGNED)
def test_bad_signature_percent_encoded(): print("oh%3D00_Afabcdef")
def test_bad_signature_in_a_record(): logging.getLogger("httpx").info("GET %s", SIGNED)
def test_bad_signature_in_a_row(tmp_path): stored(tmp_path, SIGNED)
def test_bad_signature_in_the_log(tmp_path): written(tmp_path / "log" / "archiver.log", SIGNED.encode())

def test_good_silence(): print("nothing")
def test_good_signature_in_a_kept_answer(tmp_path):
    written(tmp_path / "answers" / "1.warc.gz", gzip.compress(SIGNED.encode()))
def test_good_key_in_its_own_file(tmp_path): written(tmp_path / "hikerapi.token", KEY.encode())
def test_good_short_key_is_a_word(tmp_path):
    leak_detector.watch_archive(tmp_path, lambda: "wrong")
    print("wrong")
"""


def test_fault_l3_every_way_out_is_watched(tmp_path: Path) -> None:
    """A test that lets the key or a signature out in any way fails for it, saying where and not what; others
    pass.
    """
    tests = tmp_path / "tests"
    shutil.copytree(
        ROOT / "tests" / "support", tests / "support", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "tests" / "conftest.py", tests)
    (tests / "test_leaks.py").write_text(LEAKS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rE",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--import-mode=importlib",
    ]
    done = subprocess.run(
        # A place of its own: else it would first remove what earlier runs of pytest have left, for a minute.
        [*command, "-c", "/dev/null", "--rootdir", ".", "--basetemp", "places", "tests"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    failed = set(re.findall(r"^ERROR tests/test_leaks\.py::(\w+)", done.stdout, re.MULTILINE))
    planted = set(re.findall(r"def (test_bad_\w+)", LEAKS))
    assert failed == planted, done.stdout
    assert f"{LEAKS.count('def test_')} passed, {len(planted)} errors" in done.stdout


def test_fault_l3_a_postgresql_database_is_looked_through(
    tmp_path: Path, postgres: PostgresServer, postgres_template: str
) -> None:
    """Every table of it, for the key and for signatures; this test plants both and takes them back."""
    with postgres.database(postgres_template) as url:
        leak_detector.watch_archive(tmp_path, lambda: "standin-0123456789abcdef", url)
        assert list(leak_detector.find_leaks()) == []
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute(
                "INSERT INTO failures (subject, subject_pk, reason, detail, attempts, "
                "first_at, last_at) VALUES "
                "('target', 'x', 'upstream', 'standin-0123456789abcdef a.jpg?oh=00_Afabc', 1, now(), now())"
            )
        assert len(list(leak_detector.find_leaks())) == 2
    leak_detector.reset()


_ROW = re.compile(r"\b[ABCEHJKLSVWX]\d{1,2}\b")
_KEY = re.compile(
    r"""(?:x-access-key|HIKERAPI_TOKEN|access_key|api_key|token)["']?\]?\s*[:=,]\s*"""
    r"""["']?(?P<key>[A-Za-z0-9_-]{24,})""",
    re.IGNORECASE,
)
_NAMED = re.compile(r"canary|standin|upstream|[A-Za-z_.]+$")
"""A key that is none: it says so itself, or it is a name in code."""


def test_security_promises_what_tests_show() -> None:
    """Each promise of SECURITY.md names rows of the fault matrix, and none that has a reason instead of a
    test.

    That the others have tests is seen to by ``scripts/faults.py --check``.
    """
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    promised = text.partition("## What is promised")[2].partition("## What is not")[0]
    matrix = tomllib.loads((ROOT / "docs" / "faults.toml").read_text("utf-8"))["fault"]
    tests = "".join(p.read_text("utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    untested = {
        row["id"] for row in matrix if "reason" in row and f"test_fault_{row['id'].lower()}_" not in tests
    }
    named = set(_ROW.findall(promised))
    assert len(named) > 30
    assert named <= {row["id"] for row in matrix} - untested
    promises = [line for line in re.split(r"\n(?=- )|\n\n", promised) if line.startswith("- ")]
    assert [line for line in promises if not _ROW.search(line)] == []


def keys_in(root: Path) -> Iterator[str]:
    """Every text in the files of a checkout that looks like a key of the vendor's, by file and line."""
    for top in ("archiver", "migrations", "tests", "docs", "benchmarks", "scripts", ".ci", "."):
        for path in (root / top).glob("*" if top == "." else "**/*"):
            if not path.is_file() or path.suffix in (".pyc", ".jpg", ".mp4", ".webp"):
                continue
            for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
                for found in _KEY.finditer(line):
                    if not _NAMED.match(found["key"]):
                        yield f"{path.relative_to(root)}, line {number}"


def test_fault_l10_no_file_of_the_project_holds_a_key(tmp_path: Path) -> None:
    """Not in tests, kept answers, docs or scripts; and a key that somebody pastes into a test or a recorded
    request is found.
    """
    assert list(keys_in(ROOT)) == []
    key = "1f0c9e4b7a2d4c6e8f1a3b5c7d9e0f12"
    (tmp_path / "tests" / "answers").mkdir(parents=True)
    (tmp_path / "tests" / "test_x.py").write_text(f"a = 1\nos.environ['HIKERAPI_TOKEN'] = '{key}'\n")
    (tmp_path / "tests" / "answers" / "recorded.json").write_text(f'{{"x-access-key": "{key}"}}\n')
    (tmp_path / "run.sh").write_text(f"HIKERAPI_TOKEN={key} archiver run\n")
    assert sorted(keys_in(tmp_path)) == [
        "run.sh, line 1",
        "tests/answers/recorded.json, line 1",
        "tests/test_x.py, line 2",
    ]

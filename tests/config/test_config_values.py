"""What a configuration must not contain, and what gives a warning."""

from __future__ import annotations

import os
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import config
from archiver.config import value_formats
from archiver.errors import ConfigError
from tests.support import config_loading
from tests.support.config_loading import load, load_refused, value_of, write_config_file

home = config_loading.home  # an autouse fixture
file = config_loading.file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[download]\nconcurency = 2",
            r"unknown setting 'concurency' in \[download\]; did you mean concurrency\?",
        ),
        (
            "[[accounts]]\nusername = 'a'\ntoken_file = 'key'",
            r": token_file in account 1 \(\[\[accounts\]\]\) belongs under \[api\]",
        ),
        ("[sync]\nreserve = '1 GB'", r": reserve in \[sync\] belongs under \[archive\]"),
        ("url = 'json://x'", r": url belongs under \[report\]"),
        ("[downlod]\nconcurrency = 2", r"unknown setting 'downlod'; did you mean download\?"),
        ("[[accounts]]\nname = 'a'", r"unknown setting 'name' in account 1 \(\[\[accounts\]\]\); did you"),
        ('[api]\ntoken = "sesame"', r"did you mean token_file\?"),
        ("archive = 1", r"write \[archive\]"),
        ("[[accounts]]\nusernam = 'x'", r"did you mean username\?"),
        ("[archive]\ndirectory = 'a\n", "line 2"),
        (b"[archive]\n# caf\xe9\n", "line 2: this is not UTF-8"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("#" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_a_mistake_in_the_file(file: Path, text: str | bytes, message: str) -> None:
    """A mistake is reported with its place, and an unknown key with the nearest known one."""
    assert re.search(message, load_refused(file, text))


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch owned']",
        "x: !!python/name:os.system",
        "--- &a [*a, *a]",
        "__import__('os').system('touch owned')",
        "cos\nsystem\n(S'touch owned'\ntR.",
        "{" * 100_000,
    ],
    ids=["yaml object", "yaml name", "yaml alias", "python", "pickle", "nested"],
)
def test_fault_x17_a_configuration_is_toml_and_nothing_else(file: Path, text: str) -> None:
    """Texts that other formats would execute are mistakes in the file."""
    assert "not valid TOML" in load_refused(file, text)
    assert not Path("owned").exists()


def test_fault_x17_of_a_hundred_megabytes_one_is_read(file: Path) -> None:
    """A file over 1 MB is refused without reading it into memory."""
    os.truncate(write_config_file(file, "x"), 10**8)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="larger than 1 MB"):
            config.load(file, {})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10_000_000


@pytest.mark.parametrize(
    "line",
    [
        "archive.directory = 3",
        "archive.directory = ''",
        "archive.directory = '~nobody-of-this-name/x'",
        "archive.database = 'sqlite:///sesame.db'",
        "archive.database = 'postgresql://me:sesame@host'",
        "archive.query_database = 'postgresql://me:sesame@host'",
        "archive.database = 'postgresql://me:sesame@[host/db'",
        "archive.database = 'postgresql://me@host:sesame/db'",
        "archive.reserve = '1 XB'",
        "archive.reserve = '-1'",
        "archive.reserve = true",
        "archive.reserve = 1.5",
        "archive.reserve = '9999999999 TB'",
        f"archive.reserve = 0x{'f' * 9000}",
        "archive.keep_answers = 'some'",
        "archive.group_readable = 'true'",
        "archive.group_readable = 1",
        "api.base_url = 'http://api.example.com'",
        "api.base_url = 'https://me:sesame@api.example.com'",
        "api.base_url = 'https://api.example.com?x-access-key=sesame'",
        "api.base_url = 'api.example.com'",
        "api.base_url = 'http://127.0.0.1.example.com'",
        "api.requests_per_second = 0",
        "api.requests_per_second = nan",
        "api.timeout = 0.5",
        "api.timeout = 301",
        "api.timeout = '20'",
        "download.concurrency = 0",
        "download.concurrency = 65",
        "download.concurrency = true",
        "download.concurrency = 2.0",
        "download.max_file_size = 0",
        "download.limit_rate = '1 B/s'",
        "download.proxy = 'socks5://me:sesame@host:1'",
        "download.allowed_hosts = []",
        "download.allowed_hosts = ['*']",
        "download.allowed_hosts = ['*.com']",
        "download.allowed_hosts = ['https://a.example.com']",
        "download.allowed_hosts = ['*.127.0.0.1:80']",
        "download.allowed_hosts = 'a.example.com'",
        "sync.sweep_days = -1",
        "sync.sweep_days = 3651",
        "sync.sweep_days_max = 0",
        "sync.sweep_days_max = 29",
        "sync.sweep_days_max = 3651",
        "sync.accounts_file = 'missing'",
        "budget.max_units_per_run = -1",
        "budget.price_per_1000 = 'sesame'",
        "budget.price_per_1000 = -1",
        "report.url = 'http://sesame.example.com/hook'",
        "report.url = 'http://8.8.8.8/sesame'",
        "report.url = 'https:///sesame'",
        "report.url = 'sesame'",
        "report.on = 'sesame'",
        "report.url = 'http://169.254.169.254/sesame'",
        "report.url = 'https://[fe80::1%25eth0]/sesame'",
        "report.url = 'json://[::ffff:169.254.1.1]/sesame'",
        "report.url = 'mailto://u:sesame@example.com?smtp=169.254.169.254'",
        "report.url = 'mailto://u:sesame@example.com?a=1&smtp=%5Bfe80::1%5D'",
        "report.ping_url = 'https://[64:ff9b::a9fe:a9fe]/sesame'",
        "report.url = '://sesame'",
        "report.url = 'slack://se same'",
        "report.ping_url = 'http://sesame.example.com/ping'",
        "report.ping_url = 'ntfy://sesame'",
        "report.ping_url = 'https://h/#sesame'",
    ],
)
def test_an_impossible_value(file: Path, line: str) -> None:
    """A wrong value is refused with the name of its key, and never quoted: it may be a password."""
    message = load_refused(file, line)
    key = line.partition(" ")[0]
    assert key in message
    assert "sesame" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "line",
    [
        "report.url = 'https://hooks.example.com/T/B?x=1'",
        "report.url = 'http://127.0.0.1:8080/hook'",
        "report.url = 'http://192.168.1.5:3001/hook'",
        "report.url = 'http://[fd00::1]/hook'",
        "report.url = 'http://homeassistant.local:8123/api/webhook/x'",
        "report.url = 'http://nas/hook'",
        "report.url = 'ntfy://my-topic'",
        "report.url = 'tgram://123456789:AbC-def/12315544'",
        "report.url = 'mailtos://me:pw@example.com?to=you@example.com'",
        "report.ping_url = 'https://hc-ping.com/1b2c/'",
        "report.ping_url = 'http://10.0.0.1/ping'",
        "report.ping_url = 'http://169.254.1.1/ping'\nreport.allow_link_local = true",
        "report.url = 'json://169.254.1.1/hook'\nreport.allow_link_local = true",
    ],
)
def test_an_address_for_reports(file: Path, line: str) -> None:
    """Addresses for reports: http only in the own network; any scheme of Apprise is kept as written."""
    assert value_of(load(file, line), line.partition(" ")[0]) == line.split("'")[1]


def test_an_impossible_value_in_the_environment(file: Path) -> None:
    """A wrong value of a variable is reported with the name of the variable."""
    for name, text in [
        ("ARCHIVER_DOWNLOAD_COVERS", "maybe"),
        ("ARCHIVER_SYNC_SWEEP_DAYS", "x"),
        ("ARCHIVER_API_TIMEOUT", "nan"),
    ]:
        assert load_refused(file, "", {name: text}).startswith(f"{name} cannot be used: expected ")


def test_a_number_in_the_environment(file: Path) -> None:
    """It may be written as Python writes it, and as people do."""
    for name, text, number in [
        ("ARCHIVER_API_REQUESTS_PER_SECOND", ".5", 0.5),
        ("ARCHIVER_API_TIMEOUT", " 5. ", 5.0),
        ("ARCHIVER_BUDGET_MAX_UNITS_PER_DAY", "+5000", 5000),
        ("ARCHIVER_SYNC_SWEEP_DAYS", "007", 7),
    ]:
        key = name.removeprefix("ARCHIVER_").lower().replace("_", ".", 1)
        assert value_of(load(file, "", {name: text}), key) == number


def test_unknown_variables_are_warned_of() -> None:
    """An unknown ARCHIVER_ variable gives a warning with the nearest one, without its value."""
    found = config.load(
        None,
        {"ARCHIVER_SYNC_SWEEPDAYS": "sesame", "ARCHIVER_TEST_X": "1", "ARCHIVER_CONFIG": "", "PATH": "x"},
    )
    (warning,) = found.warnings
    assert "ARCHIVER_SYNC_SWEEPDAYS" in warning
    assert "ARCHIVER_SYNC_SWEEP_DAYS" in warning
    assert "sesame" not in warning


def test_a_flag_of_no_key_is_refused() -> None:
    """An override must be a key, so that a misspelt one in a command is noticed."""
    with pytest.raises(ConfigError, match=r"did you mean download\.concurrency\?"):
        config.load(None, {}, {"download.concurency": 2})


def test_fault_x17_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """A directory, pipe or endless device instead of the configuration is an error, also through a link."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for place in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "zero"):
        with pytest.raises(ConfigError, match="not a regular file"):
            config.load(place, {})


def test_fault_l2_no_password_in_a_repr(file: Path) -> None:
    """The database, the proxy, the addresses of reports and the key are in no repr."""
    text = (
        "archive.database = 'postgresql://me:sesame@h/d'\ndownload.proxy = 'http://me:sesame@h'\n"
        "report.url = 'https://h/sesame'\nreport.ping_url = 'https://h/sesame'"
    )
    found = load(file, text, {"HIKERAPI_TOKEN": "sesame"})
    assert found.token is not None
    assert "sesame" not in repr(found)


def test_fault_l6_foreign_hosts_are_warned_of(file: Path) -> None:
    """A warning says if the key goes to a host that is neither the vendor nor this machine."""
    assert load(file, "api.base_url = 'http://[::1]:80'").warnings == ()
    assert load(file, "api.base_url = 'https://api.instagrapi.com'").warnings == ()
    (warning,) = load(file, "api.base_url = 'https://api.example.com'").warnings
    assert "api.example.com" in warning


def test_fault_l7_a_configuration_that_others_can_write_is_warned_of(file: Path) -> None:
    """A warning says if others can write or replace the file: they could get the key."""
    for mode, directory, warned in (
        (0o600, 0o700, False),
        (0o644, 0o755, False),
        (0o666, 0o755, True),
        (0o620, 0o755, True),
        (0o600, 0o777, True),
        (0o600, 0o1777, False),
    ):
        write_config_file(file, "", mode).parent.chmod(directory)
        found = config.load(file, {}).warnings
        assert [f"other users can write {file}" in warning for warning in found] == [True] * warned, oct(mode)


# --- sizes


@given(
    st.integers(0, 10**6),
    st.sampled_from([("B", 1), ("kB", 10**3), ("MB", 10**6), ("GiB", 2**30), ("tb", 10**12)]),
)
def test_sizes(count: int, unit: tuple[str, int]) -> None:
    """A size is its number times its unit, decimal or binary, with a space or without."""
    assert (
        value_formats.parse_size(f"{count} {unit[0]}")
        == value_formats.parse_size(f"{count}{unit[0]}")
        == count * unit[1]
    )
    assert value_formats.parse_speed(f"{count} {unit[0]}/s") == count * unit[1]


@given(st.text())
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """Every text is a value or a ValueError with a fixed message, which cannot quote it."""
    for read in (
        value_formats.parse_size,
        value_formats.parse_speed,
        value_formats.parse_api_url,
        value_formats.parse_proxy,
        value_formats.parse_database_url,
        value_formats.parse_host_pattern,
    ):
        with pytest.raises(ValueError, match=r"\w") as refused:
            read("\0")
        problem = refused.value
        try:
            read(text)
        except ValueError as error:
            problem = error
        assert str(problem) == str(refused.value)

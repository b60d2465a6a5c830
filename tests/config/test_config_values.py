"""What a configuration may say, where it comes from, and the example."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import config
from archiver.config import Config, value_formats
from archiver.config.load_config import warn_of_plain_http
from archiver.config.sections import KEYS, SECTIONS, OwnArchive
from archiver.errors import ConfigError, KeyMissing, NoArchive
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


SAMPLES = {
    "archive.directory": ("there", Path("there")),
    "archive.database": ("postgresql://me@host/db", "postgresql+psycopg://me@host/db"),
    "archive.query_database": ("postgresql://you@host/db", "postgresql+psycopg://you@host/db"),
    "archive.storage": ("s3://bucket/a/b/", "s3://bucket/a/b"),
    "archive.use_metadata_service": ("true", True),
    "archive.reserve": ("2 GiB", 2 * 1024**3),
    "archive.keep_answers": ("fetched", "fetched"),
    "archive.group_readable": ("true", True),
    "cluster.enabled": ("true", True),
    "cluster.lease": ("90", 90),
    "api.base_url": ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
    "api.token_file": ("/nowhere/token", Path("/nowhere/token")),
    "api.requests_per_second": ("2.5", 2.5),
    "api.timeout": ("7", 7.0),
    "api.privacy_check": ("True", True),
    "download.concurrency": ("64", 64),
    "download.max_file_size": ("12", 12),
    "download.limit_rate": ("10 MB/s", 10**7),
    "download.min_speed": ("0", 0),
    "download.proxy": ("http://me:pw@localhost:3128", "http://me:pw@localhost:3128"),
    "download.allowed_hosts": ("*.Example.net, 127.0.0.1,", ("*.example.net", "127.0.0.1")),
    "download.covers": ("false", False),
    "download.avatars": ("false", False),
    "sync.sweep_days": ("0", 0),
    "sync.sweep_days_max": ("90", 90),
    "sync.accounts_file": ("list", Path("list")),
    "budget.max_units_per_run": ("0", 0),
    "budget.max_units_per_day": ("10", 10),
    "budget.max_units_per_month": ("100", 100),
    "budget.price_per_1000": ("0.60 €", "0.60 €"),
    "report.url": ("ntfy://ntfy.sh/mine", "ntfy://ntfy.sh/mine"),
    "report.on": ("news", "news"),
    "report.allow_link_local": ("true", True),
    "report.ping_url": ("https://hc-ping.com/1b2c", "https://hc-ping.com/1b2c"),
}


def test_nothing_at_all_is_a_configuration() -> None:
    """Without a file every key has its default."""
    found = config.load(None, {})
    directory = platformdirs.user_data_path("archiver") / "archive"
    default = OwnArchive(directory, is_default=True)
    assert found == Config(
        archive=config.ArchiveSection(directory=directory),
        warnings=(),
        archive_of_list=default,
        archive_of_database=default,
    )
    assert (found.has_own_list, found.has_own_database) == (True, None)


def test_the_default_place_is_read(home: Path) -> None:
    """The file in the user's config directory is read by default, never one in the current directory."""
    Path("config.toml").write_text("nonsense")
    Path("archiver").mkdir()
    Path("archiver/config.toml").write_text("nonsense")
    place = config.default_path()
    assert home in place.parents
    place.parent.mkdir(parents=True)
    write_config_file(place, "[sync]\nsweep_days = 7")
    found = config.load(None, {})
    assert (found.path, found.sync.sweep_days) == (place, 7)


def test_fault_e4_the_longest_interval_of_the_sweep_is_never_below_the_shortest(file: Path) -> None:
    """Without a value of its own it follows ``sweep_days``; a smaller one is refused, whoever sets it."""
    assert load(file, "").sync.sweep_days_max == 180
    assert load(file, "[sync]\nsweep_days = 365").sync.sweep_days_max == 365
    assert load(file, "[sync]\nsweep_days = 0\nsweep_days_max = 1").sync.sweep_days_max == 1
    write_config_file(file, "[sync]\nsweep_days_max = 60")
    with pytest.raises(ConfigError, match=r"sweep_days_max in .* at least .*sweep_days, which is 90"):
        config.load(file, {"ARCHIVER_SYNC_SWEEP_DAYS": "90"})


def test_a_byte_order_mark_is_no_content(file: Path) -> None:
    """A byte order mark at the start of the file is ignored."""
    assert load(file, "\ufeff[sync]\nsweep_days = 7").sync.sweep_days == 7


def test_a_named_file_counts_and_must_exist(tmp_path: Path) -> None:
    """A flag counts before ARCHIVER_CONFIG; a named file that does not exist is an error with a hint."""
    one, two = (
        write_config_file(tmp_path / "1.toml", "[sync]\nsweep_days = 1"),
        write_config_file(tmp_path / "2.toml", "[sync]\nsweep_days = 2"),
    )
    assert config.load(None, {"ARCHIVER_CONFIG": str(one)}).sync.sweep_days == 1
    assert config.load(two, {"ARCHIVER_CONFIG": str(one)}).sync.sweep_days == 2
    with pytest.raises(ConfigError, match="does not exist") as caught:
        config.load(None, {"ARCHIVER_CONFIG": "missing.toml"})
    assert "archiver init" in caught.value.hint


def test_a_home_is_known_in_the_path_of_a_configuration(home: Path) -> None:
    """``~`` is expanded in the path of the configuration; an unknown home directory is an error."""
    write_config_file(home / "mine.toml", "[sync]\nsweep_days = 3")
    assert config.load(None, {"ARCHIVER_CONFIG": "~/mine.toml"}).sync.sweep_days == 3
    with pytest.raises(ConfigError, match="no such home directory"):
        config.load(None, {"ARCHIVER_CONFIG": "~nobody.of.this.name/mine.toml"})


# --- who wins


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_from_the_environment(key: str) -> None:
    """Every key can be set as ARCHIVER_<SECTION>_<KEY>, without a file."""
    Path("list").touch()
    text, expected = SAMPLES[key]
    if isinstance(expected, Path):
        expected = expected.absolute()
    found = config.load(None, {f"ARCHIVER_{key.replace('.', '_')}".upper(): text})
    assert value_of(found, key) == expected
    assert not [warning for warning in found.warnings if "unknown environment variable" in warning]


def test_precedence(file: Path) -> None:
    """Flag, environment, file, default, in this order; an empty variable does not count."""
    text, environ = "[download]\nconcurrency = 2", {"ARCHIVER_DOWNLOAD_CONCURRENCY": "3"}
    assert load(file, "").download.concurrency == 8
    assert load(file, text, {"ARCHIVER_DOWNLOAD_CONCURRENCY": ""}).download.concurrency == 2
    assert load(file, text, environ, download__concurrency=None).download.concurrency == 3
    assert load(file, text, environ, download__concurrency=4).download.concurrency == 4


def test_what_paths_are_relative_to(file: Path, home: Path) -> None:
    """Paths in the file are relative to it, others to the current directory; ``~`` is expanded."""
    text = '[archive]\ndirectory = "a"\n[sync]\naccounts_file = "list"\n[api]\ntoken_file = "~/t"'
    file.parent.mkdir()
    (file.parent / "list").write_text("nasa")
    found = load(file, text)
    assert found.archive.directory == file.parent / "a"
    assert found.sync.accounts_file == file.parent / "list"
    assert found.api.token_file == home / "t"
    assert load(file, "").archive.directory == home / ".local/share/archiver/archive"
    assert load(file, text, {"ARCHIVER_ARCHIVE": "b"}).archive.directory == Path("b").absolute()
    assert (
        load(file, text, {"ARCHIVER_ARCHIVE": "b"}, archive__directory=Path("c")).archive.directory
        == Path("c").absolute()
    )


def test_an_archive_at_the_former_default_must_be_moved(file: Path, home: Path) -> None:
    """If something is at the former default, also without its disk, and no archive at the default: a run
    would make another one. The command that is printed moves it; a directory that is named is used.
    """
    former, new = file.parent / "archive", home / ".local/share/archiver/archive"
    former.mkdir(parents=True)
    for command in (f"mkdir -p {new.parent} && mv {former} {new}", f"rmdir {new} && mv {former} {new}"):
        with pytest.raises(NoArchive, match=str(former)) as refused:
            load(file, "")
        assert (refused.value.exit_code, refused.value.hint.partition(";")[0]) == (10, command)
        assert load(file, '[archive]\ndirectory = "archive"').archive.directory == former
        new.mkdir(parents=True, exist_ok=True)
    subprocess.run(["sh", "-c", command], check=True)
    (new / "archive.json").touch()
    assert load(file, "").archive.directory == new
    former.mkdir()
    assert load(file, "").archive.directory == new


def test_the_storage_is_of_the_configured_archive_only(file: Path, tmp_path: Path) -> None:
    """archive.storage holds for the archive of the configuration, and not for that of --archive."""
    text = '[archive]\ndirectory = "mine"\nstorage = "s3://bucket/mine"'
    assert load(file, text).archive.storage == "s3://bucket/mine"
    assert load(file, text, archive__directory=file.parent / "mine").archive.storage == "s3://bucket/mine"
    assert load(file, text, archive__directory=tmp_path / "other").archive.storage is None


@pytest.mark.parametrize(
    ("endpoint", "is_noted"),
    [("http://store.lan:9000", True), ("", True), ("http://127.0.0.1:9000", False)],
)
def test_plain_http_to_a_store_is_noted(endpoint: str, is_noted: bool) -> None:
    """If the environment allows it, unless the store is on this machine."""
    environ = {"AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT_URL": endpoint}
    assert bool(warn_of_plain_http(environ)) is is_noted
    assert warn_of_plain_http({"AWS_ENDPOINT_URL": endpoint}) == ()


# --- the key


def test_fault_l4_the_key_is_taken_out_of_the_environment(file: Path) -> None:
    """HIKERAPI_TOKEN counts before token_file and is removed, also if the configuration is refused."""
    write_config_file(file.parent / "t", "other")
    environ = {"HIKERAPI_TOKEN": " sesame\n"}
    found = config.load(write_config_file(file, "api.token_file = 't'"), environ)
    assert found.token is not None
    assert found.token.reveal() == "sesame"
    assert environ == {}
    environ = {"HIKERAPI_TOKEN": "sesame"}
    with pytest.raises(ConfigError):
        config.load(write_config_file(file, "x = 1"), environ)
    assert environ == {}


@pytest.mark.parametrize(("mode", "warned"), [(0o400, False), (0o600, False), (0o640, True), (0o604, True)])
def test_fault_l7_a_key_from_a_file(file: Path, mode: int, warned: bool) -> None:
    """The key may be in a file of its own; a warning says if others can read it."""
    write_config_file(file.parent / "t", "\ufeffsesame\n", mode)
    found = load(file, "api.token_file = 't'", {"HIKERAPI_TOKEN": ""})
    assert found.token is not None
    assert found.token.reveal() == "sesame"
    assert ["chmod 600" in warning for warning in found.warnings] == [True] * warned


@pytest.mark.parametrize(("mode", "warned"), [(0o440, False), (0o444, True)])
def test_fault_l7_a_key_that_systemd_hands_over(
    file: Path, mode: int, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask of an ACL, which gives a credential to the user of the service, looks like a group's right."""
    write_config_file(file.parent / "key", "sesame", mode)
    environ = {"ARCHIVER_API_TOKEN_FILE": str(file.parent / "key")}
    assert load(file, "", environ).warnings
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    handed = load(file, "", environ)
    assert bool(handed.warnings) == warned
    assert handed.token is not None


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_fault_l7_a_key_that_others_can_write(file: Path, mode: int) -> None:
    """A key file that others can write is refused, with the command that repairs it."""
    write_config_file(file.parent / "t", "sesame", mode)
    with pytest.raises(ConfigError, match="other users can write") as caught:
        load(file, "api.token_file = 't'")
    assert caught.value.hint.startswith("chmod 600")


def test_fault_l7_a_key_that_others_can_replace(file: Path, tmp_path: Path) -> None:
    """So is one that others can replace; the sticky bit of a directory such as /tmp prevents that."""
    write_config_file(tmp_path / "open" / "t", "sesame")
    (tmp_path / "open").chmod(0o777)
    line = f"api.token_file = '{tmp_path}/open/t'"
    with pytest.raises(ConfigError, match="other users can replace") as caught:
        load(file, line)
    assert caught.value.hint == f"chmod o-w {tmp_path}/open"
    (tmp_path / "open").chmod(0o1777)
    assert load(file, line).token is not None


def test_a_key_file_that_is_not_there(file: Path) -> None:
    """An unreadable key file is a warning, as reading an archive needs no key; an empty one is an error."""
    found = load(file, "api.token_file = 't'")
    assert found.token is None
    assert "No such file" in found.warnings[0]
    write_config_file(file.parent / "t", "\n")
    with pytest.raises(KeyMissing, match=rf"the key file {file.parent}/t is empty"):
        load(file, "api.token_file = 't'")
    write_config_file(file.parent / "t", "a key\n")
    with pytest.raises(KeyMissing, match=rf"invalid character .*: {file.parent}/t \(api.token_file\)"):
        load(file, "api.token_file = 't'")


def example_keys() -> Iterator[tuple[str, str]]:
    """Yield every key that is commented out in a section of the example, with its TOML value."""
    section = ""
    for line in config.example().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif line == "# [[accounts]]":
            return
        elif pair := re.fullmatch(r"# (\w+) = (.+)", line):
            yield f"{section}.{pair[1]}", pair[2]


def test_the_example_holds_every_key_once() -> None:
    """config.example.toml explains every key of the configuration once, in its section, and no other."""
    assert sorted(key for key, _ in example_keys()) == sorted(KEYS)


@pytest.mark.parametrize(("key", "text"), list(example_keys()))
def test_the_example_shows_the_defaults(file: Path, key: str, text: str) -> None:
    """A value in the example is the default; a key without a default has an example that works."""
    section, _, name = key.partition(".")
    write_config_file(file.parent / "accounts.txt", "nasa")
    found = load(file, f"{key} = {text}")
    default = getattr(SECTIONS[section](), name)
    if default is None:
        assert value_of(found, key) is not None
        block = next(block for block in config.example().split("\n\n") if f"# {name} = " in block)
        assert "None by default" in block
    else:
        assert value_of(found, key) == value_of(load(file, ""), key)


def test_the_example_loads(file: Path) -> None:
    """The example is a configuration of defaults without an account, and its commented accounts work too."""
    found = load(file, config.example())
    assert found.accounts == ()
    assert found.warnings == ()
    assert (found.download, found.api) == (config.DownloadSection(), config.ApiSection())
    head, mark, tail = config.example().partition("# [[accounts]]")
    entries = "\n".join(re.findall(r"^# (\[\[accounts\]\]|\w+ = .+)$", mark + tail, re.MULTILINE))
    assert len(load(file, f"{head}\n{entries}").accounts) == 3


def test_there_is_one_example() -> None:
    """The example at the top of the checkout is the one that `archiver init` writes."""
    top = Path(__file__).parents[2] / "config.example.toml"
    assert top.read_text(encoding="utf-8") == config.example()
    assert "accounts" not in tomllib.loads(config.example())

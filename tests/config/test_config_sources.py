"""Where the configuration is, which source counts, and where the key comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import platformdirs
import pytest

from archiver import config
from archiver.config import Config
from archiver.config.load_config import warn_of_plain_http
from archiver.config.sections import KEYS
from archiver.errors import ConfigError, KeyMissing, NoArchive
from tests.support import config_loading
from tests.support.config_loading import load, value_of, write_config_file

home = config_loading.home  # an autouse fixture
file = config_loading.file

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
    assert found == Config(
        archive=config.ArchiveSection(directory=platformdirs.user_data_path("archiver") / "archive"),
        warnings=(),
    )


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

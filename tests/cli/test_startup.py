"""What a command that has nothing to do leaves out: modules that are slow to import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.command_line import CommandLineUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

_OF_FEW_RUNS = [
    "alembic",
    "archiver.catalog.postgresql",
    "archiver.catalog.search.search_index",
    "sqlalchemy.orm",
    "tqdm",
]
_OF_WRITERS = ["archiver.catalog.outbox", "archiver.catalog.tables", "archiver.hiker", "httpx", "warcio"]
_SCRIPT = """
import sys
from archiver.cli.main import main
code = main(sys.argv[2:])
print("loaded:", code, [name for name in sys.argv[1].split() if name in sys.modules])
"""


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLineUser]:
    """A user whose archive holds the whole account that the configuration names."""
    with FaultyStandIn(EditableWorld.generate(1, 2, 1)) as upstream:
        user = CommandLineUser(tmp_path_factory.mktemp("startup"), upstream)
        user.list_accounts("account0000")
        assert user.run("init").code == 0
        assert user.run("run").code == 0
        yield user


@pytest.mark.parametrize(
    ("command", "modules"),
    [
        ("--help", ["archiver.config", "archiver.cli.decorators", "msgspec", "sqlalchemy"]),
        ("status", [*_OF_FEW_RUNS, *_OF_WRITERS]),
        ("run", _OF_FEW_RUNS),
    ],
)
def test_a_command_without_work_loads_no_slow_modules(
    archived: CommandLineUser, command: str, modules: list[str]
) -> None:
    """``--help``, ``status``, and a run that finds nothing new, import only what they use."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, " ".join(modules), command],
        capture_output=True,
        text=True,
        check=True,
        env=archived.environ,
    )
    assert done.stdout.splitlines()[-1] == "loaded: 0 []", done.stderr

"""docs/operations.md and contrib/: whatever they name exists, and the programs that read them accept it."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import click
import pytest
import yaml

from archiver import exit_codes
from archiver.cli import completion_command
from archiver.cli.main import cli
from archiver.config import load
from archiver.config.sources import ENVIRONMENT
from tests.support import ROOT
from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.command_parsing import parse_command
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.system_programs import require_program

CONTRIB = ROOT / "contrib"
PAGE = ROOT / "docs" / "operations.md"
UNITS = sorted((CONTRIB / "systemd").glob("*.service"))
PROGRAM = "/opt/archiver/bin/archiver"
_METRIC = re.compile(r"\barchiver_[a-z_]+")
_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def settings(unit: Path) -> list[tuple[str, str]]:
    """Return the settings of a unit in their order; a key may occur several times."""
    lines = unit.read_text().splitlines()
    return [(key, value) for key, sign, value in (line.partition("=") for line in lines) if sign]


def unit_commands() -> Iterator[tuple[str, list[str]]]:
    for unit in (*UNITS, CONTRIB / "systemd" / "metrics.conf"):
        for key, value in settings(unit):
            if key.startswith("Exec"):
                yield unit.name, shlex.split(value.replace("%%", "%"))


def page_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of archiver in the blocks of the page, also those that another program starts."""
    for block in _BLOCK.findall(PAGE.read_text()):
        for line in block.replace("\\\n", " ").replace("\\%", "%").splitlines():
            words = shlex.split(line.partition(" #")[0]) if "archiver" in line and "'" not in line else []
            for at, word in enumerate(words):
                is_program = word.endswith("/bin/archiver") or (at == 0 and word == "archiver")
                in_container = words[0] == "archiver-run" and word == "archiver"
                if (is_program or in_container) and words[at + 1 :]:
                    yield "page", [PROGRAM, *words[at + 1 :]]
                    break
    for text in re.findall(r"`(archiver [^`]+)`", PAGE.read_text()):
        yield "page", [PROGRAM, *shlex.split(text)[1:]]


def other_commands() -> Iterator[tuple[str, list[str]]]:
    plist = plistlib.loads((CONTRIB / "launchd" / "archiver.plist").read_bytes())
    script = shlex.split(plist["ProgramArguments"][2].partition("2>>")[0])
    assert script[1] == "$HOME/archiver-venv/bin/archiver"
    yield "launchd", [PROGRAM, *script[2:]]
    image = (CONTRIB / "Containerfile").read_text()
    yield "Containerfile", [PROGRAM, *json.loads(re.findall("^CMD (.*)$", image, re.MULTILINE)[0])]
    for name, service in yaml.safe_load((CONTRIB / "compose.yaml").read_text())["services"].items():
        if service.get("image") == "archiver":
            yield f"compose {name}", [PROGRAM, *service["command"]]


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """An account with a highlight of two items."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 2)) as standin:
        yield standin


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn) -> CommandLineUser:
    """Somebody with the account in the configuration, and an empty archive."""
    somebody = CommandLineUser(tmp_path, upstream)
    somebody.list_accounts("account0000")
    assert somebody.run("init", "-q").code == 0
    return somebody


COMMANDS = [*unit_commands(), *page_commands(), *other_commands()]


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=[" ".join(w[1:4]) for _, w in COMMANDS])
def test_every_command_exists_with_its_options(where: str, words: list[str]) -> None:
    """In units, in the plist, in the image, in the compose file and on the page."""
    assert words[0] == PROGRAM
    parse_command(words[1:])


def test_a_command_that_does_not_exist_is_seen() -> None:
    """So is an option; and the page has commands to look at."""
    for words in (["runs"], ["run", "--no-such-option"], ["verify", "--subset", "x%"]):
        with pytest.raises(click.UsageError):
            parse_command(words)
    assert len([words for where, words in COMMANDS if where == "page"]) > 15
    assert cli.name is not None


def test_every_variable_is_one_of_the_program() -> None:
    """In units, image, compose file and page."""
    files = [*UNITS, CONTRIB / "Containerfile", CONTRIB / "compose.yaml", PAGE]
    found = {name for file in files for name in re.findall(r"\bARCHIVER_[A-Z_]+", file.read_text())}
    assert found - {"ARCHIVER_USER"} <= {"ARCHIVER_CONFIG", *ENVIRONMENT}
    assert "ARCHIVER_API_TOKEN_FILE" in found


def test_the_configuration_on_the_page_is_accepted(tmp_path: Path) -> None:
    """And the settings that the page names exist."""
    (text,) = re.findall(r"<<'END'\n(.*?)END\n", PAGE.read_text(), re.DOTALL)
    (tmp_path / "config.toml").write_text(text)
    config = load(tmp_path / "config.toml", {}, with_accounts=False)
    assert config.archive.directory == Path("/var/lib/archiver/archive")
    empty_list = f"sudo install -o archiver -g archiver -m 600 /dev/null {config.sync.accounts_file}"
    assert empty_list in PAGE.read_text()
    example = tomllib.loads(
        re.sub(r"^# (?=[a-z_]+ = )", "", (ROOT / "config.example.toml").read_text(), flags=re.M)
    )
    assert "ping_url" in example["report"]
    assert "token_file" in example["api"]


def test_the_database_of_the_compose_file_is_accepted(tmp_path: Path) -> None:
    """It is reached through a socket in a volume that both containers have."""
    compose = yaml.safe_load((CONTRIB / "compose.yaml").read_text())
    services = compose["services"]
    environ = {key: str(value) for key, value in services["run"]["environment"].items()}
    url = load(None, environ | {"XDG_CONFIG_HOME": str(tmp_path)}).archive.database
    assert url is not None
    directory = url.partition("host=")[2]
    for name in ("run", "serve"):
        assert f"socket:{directory}" in services[name]["volumes"]
    assert "socket:/var/run/postgresql" in services["database"]["volumes"]
    mounts = {volume.partition(":")[0] for service in services.values() for volume in service["volumes"]}
    assert {mount for mount in mounts if not mount.startswith(".")} == set(compose["volumes"])


def test_the_page_has_every_exit_code() -> None:
    """Each with what to do."""
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)}
    assert codes == set(exit_codes._OUTCOMES)


def test_the_page_names_files_that_exist() -> None:
    """Each file of contrib/ is used on the page or in a unit, and each name leads to one."""
    text = PAGE.read_text() + (ROOT / "docs" / "cluster.md").read_text()
    names = {name.rstrip(".") for name in re.findall(r"contrib/[\w./-]+", text)}
    names -= {name for name in names if not (ROOT / name).suffix}
    assert [name for name in names if not (ROOT / name).is_file()] == []
    files = {path.name for path in CONTRIB.rglob("*") if path.is_file()}
    assert files - {Path(name).name for name in names} <= {"Containerfile", "alerts.test.yml"}
    links = re.findall(r"\]\(([\w/.-]+)", PAGE.read_text())
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []


def run_script(
    tmp_path: Path, environment: str, program: str, *words: str, shell: str = "sh"
) -> subprocess.CompletedProcess[str]:
    """Run contrib/archiver.sh with these words, and a shell script in the place of the program."""
    programs = {
        "sudo": 'shift; exec env -i PATH="$PATH" COMP_LINE="$COMP_LINE" "$@"',
        "runuser": 'shift 3; exec "$@"',
        "archiver": program,
    }
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, text in programs.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    (tmp_path / "key").write_text("a key\n")
    (tmp_path / "environment").write_text(environment)
    script = tmp_path / "archiver"
    text = (CONTRIB / "archiver.sh").read_text().replace(" sh -c ", f" {shell} -c ")
    script.write_text(text.replace("/etc/archiver", str(tmp_path)).replace("/opt/archiver/bin", str(bin_)))
    environ = {"PATH": f"{bin_}:{os.environ['PATH']}", "COMP_LINE": "archiver show n"}
    return subprocess.run(
        [shell, script, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
    )


def test_the_script_hands_over_words_key_and_completion(tmp_path: Path) -> None:
    """As they are, whatever is in them; sudo gives nothing else of the environment."""
    show = 'printf "%s\\n" "$@" "$HIKERAPI_TOKEN" "$ARCHIVER_CONFIG" "$SECRET" "$COMP_LINE"'
    words = ["search", "--", "gift $(id)", "-sale", "it's"]
    ended = run_script(tmp_path, "SECRET='of the bucket'\n", show, *words)
    stated = ["a key", f"{tmp_path}/config.toml", "of the bucket", "archiver show n"]
    assert ended.stdout.splitlines() == [*words, *stated]
    text = (CONTRIB / "archiver.sh").read_text()
    (names,) = re.findall(r"--preserve-env=(\S+)", text)
    sources = "".join(completion_command.script(shell) for shell in completion_command.SHELLS)
    assert set(names.split(",")) == set(re.findall(r"\b(_ARCHIVER_COMPLETE|COMP_[A-Z]+)=", sources))


_ENVIRONMENT = r"""# a comment; with 'quotes
; another
ARCHIVER_ARCHIVE_DATABASE=postgresql://me:p@h/db?sslmode=require&connect_timeout=5
 PLAIN =  two words $(touch x) `touch x` $HOME ; touch x
SINGLE='a $(touch x) \n "b" \'
DOUBLE="a \$(touch x) \"b\" \\ \n it's
line two"
JOINED='a' "b"
ESCAPED=a\ b\\c\
d
LITERAL=it's "here"
EMPTY=
not an assignment
9BAD=x
BAD-NAME=x
PATH2=$PATH
LAST=&&"""
_READ = {
    "ARCHIVER_ARCHIVE_DATABASE": "postgresql://me:p@h/db?sslmode=require&connect_timeout=5",
    "PLAIN": "two words $(touch x) `touch x` $HOME ; touch x",
    "SINGLE": 'a $(touch x) \\n "b" \\',
    "DOUBLE": 'a $(touch x) "b" \\ \\n it\'s\nline two',
    "JOINED": "ab",
    "ESCAPED": "a b\\cd",
    "LITERAL": 'it\'s "here"',
    "EMPTY": "",
    "PATH2": "$PATH",
    "LAST": "&&",
}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_fault_k22_the_environment_is_read_as_systemd_reads_it(tmp_path: Path, shell: str) -> None:
    """The rules of systemd.exec(5): comments, quotes, escapes, long lines. No shell evaluates anything."""
    ended = run_script(tmp_path, _ENVIRONMENT, "exec env -0", shell=shell)
    variables = dict(each.split("=", 1) for each in ended.stdout.split("\0") if each)
    assert {name: variables.get(name) for name in _READ} == _READ
    assert variables["HIKERAPI_TOKEN"] == "a key"
    assert not [name for name in variables if "BAD" in name or name in ("_text", "_value")]
    assert not (tmp_path / "x").exists()
    assert ended.stderr == ""


# --- systemd


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that exists here in the place of the installed one."""
    for unit in (CONTRIB / "systemd").iterdir():
        text = unit.read_text().replace(PROGRAM, sys.executable)
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(units: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = require_program("systemd-analyze", "systemd")
    return subprocess.run([program, *words], cwd=units, capture_output=True, text=True, timeout=60)


def test_systemd_accepts_every_unit(units: Path) -> None:
    """Without a warning; a misspelt setting has one."""
    names = [f"./{path.name}" for path in sorted(units.glob("archiver*"))]
    assert len(names) == 4
    verified = analyze(units, "verify", "--man=no", *names)
    assert (verified.returncode, verified.stderr) == (0, "")
    (units / "archiver.service").write_text((units / "archiver.service").read_text() + "ProtectSytem=full\n")
    assert "ProtectSytem" in analyze(units, "verify", "--man=no", "./archiver.service").stderr


@pytest.mark.parametrize("unit", [path.name for path in UNITS])
def test_every_service_is_confined(units: Path, unit: str) -> None:
    """An exposure of at most 1.5, of 10."""
    rated = analyze(units, "security", "--no-pager", "--offline=true", "--threshold=15", f"./{unit}")
    assert rated.returncode == 0, rated.stdout
    found = dict(settings(units / unit))
    assert found["ProtectSystem"] == "strict"
    assert found["ReadWritePaths"] == "/var/lib/archiver"
    assert found["User"] == "archiver"


def test_the_services_are_confined_alike() -> None:
    """The settings that confine them are the same, so that none is forgotten in one of them."""
    first, *others = [
        unit.read_text().partition("CapabilityBoundingSet=")[2].partition("\n\n[Install]")[0].strip()
        for unit in UNITS
    ]
    assert [first] * 2 == others


def test_a_missed_night_is_made_up_for() -> None:
    """And not all machines start at the same second."""
    timer = dict(settings(CONTRIB / "systemd" / "archiver.timer"))
    assert timer["Persistent"] == "true"
    assert timer["RandomizedDelaySec"] == "30min"


def test_a_service_runs_with_its_credential(
    person: CommandLineUser, upstream: FaultyStandIn, tmp_path: Path
) -> None:
    """The command of the unit, with the variables that it sets: the key is in none of them."""
    environ = [
        value for key, value in settings(CONTRIB / "systemd" / "archiver.service") if key == "Environment"
    ]
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o550)
    (credentials / "key").write_text(upstream.key)
    (credentials / "key").chmod(0o440)
    given = dict(text.replace("%d", str(credentials)).split("=", 1) for text in environ)
    assert given.pop("ARCHIVER_CONFIG") == "/etc/archiver/config.toml"
    person.more |= given | {"CREDENTIALS_DIRECTORY": str(credentials), "HIKERAPI_TOKEN": ""}
    ended = person.run("run")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


# --- the others


def test_launchd_gets_what_it_knows() -> None:
    """A plist with a command, a time and a name."""
    plist = plistlib.loads((CONTRIB / "launchd" / "archiver.plist").read_bytes())
    assert plist["Label"] == "archiver"
    assert plist["StartCalendarInterval"] == {"Hour": 2, "Minute": 17}
    assert plist["Umask"] == 0o077
    assert "kickstart gui/$(id -u)/archiver" in PAGE.read_text()


def test_alerts_and_dashboard_use_metrics_that_exist(person: CommandLineUser) -> None:
    """Every name in them is one that ``archiver metrics`` prints."""
    printed = set(_METRIC.findall(person.run("metrics").out))
    for name in ("alerts.yml", "alerts.test.yml", "dashboard.json"):
        text = (CONTRIB / "prometheus" / name).read_text()
        assert set(_METRIC.findall(text)) <= printed
    rules = yaml.safe_load((CONTRIB / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    tested = re.findall(r"alertname: (\w+)", (CONTRIB / "prometheus" / "alerts.test.yml").read_text())
    assert [rule["alert"] for rule in rules if tested.count(rule["alert"]) < 2] == []
    dashboard = json.loads((CONTRIB / "prometheus" / "dashboard.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) > 8


@pytest.mark.whole
def test_promtool_accepts_the_alerts_and_each_fires() -> None:
    """When it should, and none for a healthy archive."""
    promtool = require_program("promtool", "prometheus")
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        checked = subprocess.run(
            [promtool, *words], cwd=CONTRIB / "prometheus", capture_output=True, text=True, timeout=60
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_image_has_all_that_the_wheel_is_made_of() -> None:
    """What its first stage copies contains every file that the package links to, and the scripts that build
    it; and the extras exist.
    """
    image = (CONTRIB / "Containerfile").read_text()
    copies = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.*)$", image, re.MULTILINE)]
    copied = [ROOT / name for names in copies for name in names]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    tops = [*wheel["only-include"], *wheel.get("shared-data", ()), *wheel.get("force-include", ())]
    linked = {path.resolve() for top in tops for path in (ROOT / top).rglob("*")}
    hooks = [hook["path"] for hook in wheel["hooks"].values()]
    stated = [project["project"]["readme"], *project["project"]["license-files"], *tops, *hooks]
    needed = linked | {ROOT / name for name in stated}
    missing = [path for path in needed if not any(path.is_relative_to(place) for place in copied)]
    assert missing == []
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", image, re.MULTILINE)
    assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"])


def test_the_source_distribution_has_the_files() -> None:
    """contrib/ is part of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "contrib" in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]


_CONFIG = """
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: [{rules}]
scrape_configs:
  - {{job_name: node, scrape_timeout: 200ms, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
"""


@pytest.mark.whole
def test_a_prometheus_reads_the_numbers(tmp_path: Path) -> None:
    """They arrive as they were written, a hostile name included, and the alerts look at them."""
    with FaultyStandIn(EditableWorld.generate(1, 1, 2)) as upstream:
        person = InProcessUser(tmp_path, upstream)
        assert person.run("backup", "account0000", "-q").code == 0
        collector = tmp_path / "collector"
        collector.mkdir()
        file = collector / "archiver.prom"
        assert person.run("metrics", "--by-account", "--textfile", str(file)).code == 0
    hostile = 'a"\\\n}'
    escaped = hostile.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    file.write_text(file.read_text().replace("account0000", escaped))
    exporter, server = free_port(), free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(_CONFIG.format(rules=ROOT / "contrib" / "prometheus" / "alerts.yml", port=exporter))
    listen = "--web.listen-address=127.0.0.1:{}".format
    node_exporter = require_program("prometheus-node-exporter", "prometheus-node-exporter")
    textfile = "--collector.textfile", f"--collector.textfile.directory={collector}"
    with (
        started(node_exporter, listen(exporter), "--collector.disable-defaults", *textfile),
        started(
            *(require_program("prometheus", "prometheus"), listen(server), f"--config.file={config}"),
            f"--storage.tsdb.path={tmp_path / 'data'}",
        ),
    ):
        items = ask(server, "archiver_account_items")
        assert [(row["metric"]["account"], row["value"][1]) for row in items] == [(hostile, "2")]
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name.startswith("archiver_") and "{" not in name and value != "NaN":
                assert [float(row["value"][1]) for row in ask(server, name)] == [float(value)]
        assert [row["metric"]["alertname"] for row in ask(server, 'ALERTS{alertstate="firing"}')] == [
            "ArchiverNotVerified"
        ]


def ask(port: int, query: str) -> list[Any]:
    """Return what a query finds, once it finds something."""
    for _ in range(100):
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}", timeout=5) as answer:
                found: list[Any] = json.load(answer)["data"]["result"]
            if found:
                return found
        except OSError:  # it is not listening yet
            pass
        time.sleep(0.2)
    raise AssertionError(f"nothing is found for {query}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def started(*command: str) -> Iterator[None]:
    """Run a server in the background."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()

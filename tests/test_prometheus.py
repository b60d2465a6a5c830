"""The metrics in a real Prometheus, through the collector of a real node_exporter, on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.support import ROOT
from tests.support.command_line import InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.system_programs import require_program

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

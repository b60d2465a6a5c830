"""An S3 server for archives."""

from __future__ import annotations

import pytest

from tests.support.s3_server import QUICK, S3Server


@pytest.fixture
def server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """One that the environment names."""
    server.set_environment(monkeypatch, limits=QUICK)
    return server

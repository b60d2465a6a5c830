"""A home directory for each test, a place for its configuration, and functions that load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from archiver import config
from archiver.config import Config
from archiver.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory and a current directory for each test, without a configuration."""
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(cwd)
    return home


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a configuration is to be written."""
    return tmp_path / "etc" / "config.toml"


def write_config_file(file: Path, text: str | bytes, mode: int = 0o600) -> Path:
    """Write this content to the file."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return file


def load(file: Path, text: str | bytes, environ: Mapping[str, str] | None = None, **flags: object) -> Config:
    """Return the Config of a file with this content."""
    overrides = {name.replace("__", "."): value for name, value in flags.items()}
    return config.load(write_config_file(file, text), dict(environ or {}), overrides)


def value_of(found: Config, key: str) -> object:
    """Return the value of ``section.key``."""
    section, _, name = key.partition(".")
    return getattr(getattr(found, section), name)


def load_refused(file: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """Return the message with which this configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load(file, text, environ)
    return str(caught.value)

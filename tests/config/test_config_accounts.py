"""The accounts of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.errors import ConfigError
from tests.support import config_loading
from tests.support.config_loading import load, load_refused, write_config_file

home = config_loading.home  # an autouse fixture
file = config_loading.file


def test_accounts(file: Path) -> None:
    """An account is a username, a user id or a text that names a target; digits as username are a name."""
    text = """
        [[accounts]]
        username = "NatGeo"
        highlights = ["BOTW*"]
        [[accounts]]
        user_id = 787132
        [[accounts]]
        user_id = "787133"
        [[accounts]]
        username = "123"
        [[accounts]]
        target = "https://www.instagram.com/stories/highlights/17983407089364361/"
    """
    first, *rest = load(file, text).accounts
    assert (first.username, first.highlights) == ("natgeo", ("BOTW*",))
    assert [(t.username, t.user_pk, t.highlight_pk) for t in rest] == [
        (None, "787132", None),
        (None, "787133", None),
        ("123", None, None),
        (None, None, "17983407089364361"),
    ]


def test_accounts_of_a_list(file: Path) -> None:
    """Accounts of the list follow those of the file, each once; different globs give a warning."""
    write_config_file(file.parent / "list", "\ufeff# mine\nnasa\n@NatGeo\n787132 # id\nnasa\n")
    text = 'sync.accounts_file = "list"\n[[accounts]]\nusername = "natgeo"\nhighlights = ["A*"]'
    found = load(file, text)
    assert [target.username or target.user_pk for target in found.accounts] == ["natgeo", "nasa", "787132"]
    assert found.accounts[0].highlights == ("A*",)
    (warning,) = found.warnings
    assert "NatGeo is listed twice" in warning


@pytest.mark.parametrize(
    "entry",
    [
        "username = 'a b'",
        "username = 'instagram.com/natgeo'",
        "username = 'highlight:1'",
        "username = 3",
        "user_id = 'natgeo'",
        "user_id = true",
        "user_id = -1",
        f"user_id = 0x{'f' * 9000}",
        "username = 'a'\nuser_id = 1",
        "highlights = ['a']",
        "username = 'a'\nhighlights = []",
        "username = 'a'\nhighlights = 'b'",
        "username = 'a'\nhighlights = [1]",
        "target = '../x'",
    ],
)
def test_an_impossible_account(file: Path, entry: str) -> None:
    """An entry that names no account, or two, is refused with its number."""
    assert "account 2" in load_refused(file, f"[[accounts]]\nusername = 'natgeo'\n[[accounts]]\n{entry}")


def test_an_impossible_list(file: Path) -> None:
    """A line that is not a target is refused with its number; [accounts] with how to write it."""
    write_config_file(file.parent / "list", "nasa\n\n../x\n")
    assert "list, line 3" in load_refused(file, "sync.accounts_file = 'list'")
    assert "[[accounts]]" in load_refused(file, "[accounts]\nusername = 'natgeo'")
    assert "account 1 is not a table" in load_refused(file, "accounts = ['natgeo']")


def test_a_missing_list_is_to_be_written(file: Path) -> None:
    """A missing list is an error that says: write it, or name another file."""
    with pytest.raises(ConfigError, match=r"list \(sync\.accounts_file\)") as caught:
        load(file, "sync.accounts_file = 'list'")
    assert caught.value.hint == "create it with one account per line, or name another file"

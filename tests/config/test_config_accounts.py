"""The accounts that a configuration names, and the file in which they are."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import config
from archiver.config import account_list, config_files
from archiver.errors import ConfigError, StorageError, UsageError
from archiver.model.target import Target, parse_target
from tests.support import config_loading
from tests.support.config_loading import load, load_refused, write_config_file
from tests.support.disk_limits import another_user, shared_directory

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


COMMENTED = """\
# mine
[archive]
directory = "x" # here

# One [[accounts]] for each account.
[[accounts]]
username = "natgeo"
# highlights = ["BOTW*"]

# Space
[[accounts]]  # since May
user_id = 528817151
highlights = [
  "A*",
  "B*", # ]
]

# The budget
[budget]
max_units_per_run = 5

[[ "accounts" ]]
target = "instagram.com/late/"
# the end
"""


def remove(file: Path, *names: str, dry_run: bool = False) -> list[tuple[str, int]]:
    """Remove the entries with these texts; return text and line of each that was removed."""
    found = config.load(file, {})
    removed = account_list.remove_from_list(found, lambda entry: entry.text in names, dry_run=dry_run)
    return [(entry.target.text, entry.line) for entry in removed]


def add(file: Path, *targets: Target, dry_run: bool = False) -> None:
    """Add these targets."""
    account_list.add_to_list(config.load(file, {}), targets, dry_run=dry_run)


def test_two_that_add_at_once_add_an_entry_once(file: Path) -> None:
    """What another process has added since the configuration was read is not added again."""
    write_config_file(file, "")
    found = config.load(file, {})
    for names in (("nasa",), ("@NASA", "natgeo"), ("natgeo",)):
        account_list.add_to_list(found, [parse_target(name) for name in names])
    assert [target.username for target in config.load(file, {}).accounts] == ["nasa", "natgeo"]
    assert file.read_text().count("[[accounts]]") == 2


def test_an_entry_is_added_below_the_last_one(file: Path) -> None:
    """A new entry follows the last one and its comments; nothing else changes."""
    write_config_file(file, COMMENTED.partition("[[ ")[0])
    add(file, parse_target("@Nasa"), parse_target("787132", ('It\'s "x"*',)))
    text = """\
]

[[accounts]]
username = "nasa"

[[accounts]]
user_id = "787132"
highlights = ["It's \\"x\\"*"]

# The budget
"""
    assert file.read_text() == COMMENTED.partition("[[ ")[0].replace("]\n\n# The budget\n", text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[[accounts]]\nusername = "nasa"\n'),
        ("# none", '# none\n\n[[accounts]]\nusername = "nasa"\n'),
        ("sync.sweep_days = 3\r\n", 'sync.sweep_days = 3\r\n\r\n[[accounts]]\r\nusername = "nasa"\r\n'),
        ("\ufeff# x\n", '\ufeff# x\n\n[[accounts]]\nusername = "nasa"\n'),
        (
            "[[accounts]]\nusername='a'\n# of a\n[budget]\n",
            "[[accounts]]\nusername='a'\n# of a\n\n[[accounts]]\nusername = \"nasa\"\n\n[budget]\n",
        ),
    ],
)
def test_the_first_entry_of_a_file(file: Path, before: str, after: str) -> None:
    """A file without accounts gets one at its end, in the style of its lines."""
    write_config_file(file, before)
    add(file, parse_target("nasa"))
    assert file.read_bytes().decode() == after


def test_an_entry_is_removed_and_its_surroundings_stay(file: Path) -> None:
    """An entry goes with its own lines; comments around it, and all other lines, stay."""
    write_config_file(file, COMMENTED)
    removed = remove(file, "528817151", "instagram.com/late/")
    assert removed == [("528817151", 11), ("instagram.com/late/", 22)]
    first = COMMENTED.index("[[accounts]]  # since")
    last = COMMENTED.index("\n# The budget")
    assert file.read_text() == (COMMENTED[:first] + COMMENTED[last:]).partition("[[ ")[0] + "# the end\n"
    assert remove(file, "528817151") == []


def test_the_lines_of_a_list_are_removed(file: Path) -> None:
    """Lines of accounts_file that name the account go; comments and blank lines stay."""
    write_config_file(file, 'sync.accounts_file = "list"\n[[accounts]]\nusername = "nasa"\n')
    names = write_config_file(
        file.parent / "list", "\ufeff# mine\r\nnasa\r\n\r\nesa # Europe\r\nnasa  # again"
    )
    assert remove(file, "nasa") == [("nasa", 2), ("nasa", 2), ("nasa", 5)]
    assert names.read_bytes().decode() == "\ufeff# mine\r\n\r\nesa # Europe\r\n"
    assert file.read_text() == 'sync.accounts_file = "list"\n'


def test_an_account_is_added_to_the_list_if_there_is_one(file: Path) -> None:
    """As a line of accounts_file, below the last one; with title patterns, which lines lack, as a table."""
    text = 'sync.accounts_file = "list"\n'
    write_config_file(file, text)
    names = write_config_file(file.parent / "list", "# mine\r\nesa # Europe")
    add(file, parse_target("@Nasa"), parse_target("787132"), parse_target("@123"), dry_run=True)
    assert names.read_text() == "# mine\nesa # Europe"
    for _ in range(2):
        add(file, parse_target("@Nasa"), parse_target("787132"), parse_target("@123"))
    assert names.read_bytes() == b"# mine\r\nesa # Europe\nnasa\r\n787132\r\n@123\r\n"
    assert file.read_text() == text
    add(file, parse_target("natgeo", ("BOTW*",)))
    assert file.read_text() == f'{text}\n[[accounts]]\nusername = "natgeo"\nhighlights = ["BOTW*"]\n'


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_directory_that_cannot_be_written_is_named(dry_run: bool) -> None:
    """Also by a dry run: that of the configuration, or that of the list, whichever is to be changed."""
    with shared_directory() as place:
        file = write_config_file(place / "etc" / "a.toml", COMMENTED, mode=0o644)
        names = write_config_file(place / "list" / "names", "natgeo\n", mode=0o644)
        other = write_config_file(
            place / "etc" / "b.toml", "sync.accounts_file = '../list/names'\n", mode=0o644
        )
        for directory in (file.parent, names.parent):
            directory.chmod(0o555)
        with another_user():
            for config_file, changed in ((file, file), (other, names)):
                message = f"cannot be changed: the directory {changed.parent} cannot be written"
                with pytest.raises(StorageError, match=message):
                    add(config_file, parse_target("nasa"), dry_run=dry_run)
                with pytest.raises(StorageError, match=message):
                    remove(config_file, "natgeo", dry_run=dry_run)
                assert remove(config_file, "nobody", dry_run=dry_run) == []
        for directory in (file.parent, names.parent):
            directory.chmod(0o755)


def test_a_dry_run_writes_nothing(file: Path) -> None:
    """With ``dry_run`` the files stay, and the result is the same."""
    write_config_file(file, COMMENTED + "[sync]\naccounts_file = 'list'\n")
    write_config_file(file.parent / "list", "natgeo\n")
    add(file, parse_target("nasa"), dry_run=True)
    assert remove(file, "natgeo", dry_run=True) == [("natgeo", 6), ("natgeo", 1)]
    assert file.read_text() == COMMENTED + "[sync]\naccounts_file = 'list'\n"
    assert (file.parent / "list").read_text() == "natgeo\n"


@pytest.mark.parametrize(
    "text",
    [
        'accounts = [{username = "natgeo"}]\n',
        "accounts = []\n",
        "[report]\nurl = '''\n[[accounts]]\n'''\n[[accounts]]\nusername = 'natgeo'\n",
        "[report]\nurl = 'json://x'\n[[accounts]]\nhighlights = ['''\n[a''']\nusername = 'natgeo'\n",
    ],
)
def test_a_file_that_is_written_otherwise_is_refused(file: Path, text: str) -> None:
    """What cannot be changed line by line is refused, and stays as it is."""
    write_config_file(file, text)
    lines = config_files.read_lines(file)
    tables = tomllib.loads("\n".join(lines))
    found = config.Config(path=file)
    with pytest.raises(ConfigError, match=r"not all in|cannot change"):
        account_list.add_to_list(found, [parse_target("nasa")])
    if tables["accounts"]:
        with pytest.raises(ConfigError, match=r"not all in|cannot change"):
            account_list.remove_from_list(found, lambda entry: True)
    assert file.read_text() == text


def test_mode_owner_and_link_stay(file: Path, tmp_path: Path) -> None:
    """The new file has the mode and the owner of the old one, and a symbolic link still leads to it."""
    real = write_config_file(tmp_path / "dotfiles" / "my.toml", COMMENTED, mode=0o640)
    owner = (12345, 54321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(real, *owner)
    file.parent.mkdir()
    file.symlink_to(real)
    add(file, parse_target("nasa"))
    status = real.stat()
    assert file.is_symlink()
    assert "nasa" in real.read_text()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, *owner)
    assert [path.name for path in real.parent.iterdir()] == ["my.toml"]


def test_a_file_that_cannot_be_written_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new file cannot be written, the old one stays, and nothing lies beside it."""
    write_config_file(file, COMMENTED)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        add(file, parse_target("nasa"))
    assert file.read_text() == COMMENTED
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_a_directory_that_cannot_be_opened(file: Path) -> None:
    """It is an error of storage, like a file that cannot be written: here the directory is gone."""
    write_config_file(file, COMMENTED)
    found = config.load(file, {})
    file.parent.rename(file.parent.with_name("elsewhere"))
    with pytest.raises(StorageError, match="cannot be changed"):
        account_list.add_to_list(found, [parse_target("nasa")])


def test_without_a_file_there_is_no_list() -> None:
    """Without a configuration nothing is removed, and adding says how to write one."""
    assert account_list.remove_from_list(config.Config(), lambda entry: True) == ()
    with pytest.raises(UsageError, match="there is no configuration at"):
        account_list.add_to_list(config.Config(), [parse_target("nasa")])


_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8)


@given(globs=st.lists(_TEXT, min_size=1, max_size=3))
def test_any_pattern_is_read_back(globs: list[str]) -> None:
    """Whatever characters a pattern has, TOML reads what was written."""
    lines = account_list.entry_lines(parse_target("nasa", tuple(globs)))
    assert tomllib.loads("\n".join(lines))["accounts"] == [{"username": "nasa", "highlights": globs}]


def test_changes_wait_for_each_other(file: Path) -> None:
    """While one process changes the list, another one waits, and then reads what the first has written."""
    write_config_file(file, "# mine\n")
    waiting = Thread(target=add, args=(file, parse_target("nasa")))
    with config_files.hold(file):
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        file.write_text("# ours\n")
    waiting.join(10)
    assert file.read_text() == '# ours\n\n[[accounts]]\nusername = "nasa"\n'

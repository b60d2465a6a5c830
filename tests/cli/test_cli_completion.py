"""Completion in real shells: what is inserted is quoted, whatever strangers write into titles."""

from __future__ import annotations

import fnmatch
import glob
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.command_line import CommandLineUser
from tests.support.interactive_shell import InteractiveShell
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

SHELLS = ("bash", "zsh", "fish")
BASH_EVERYDAY = ["bash", *(pytest.param(name, marks=pytest.mark.whole) for name in SHELLS[1:])]
"""For what hostile titles in each shell, and this in bash, guard every day."""
OFFERED = (
    "A$(touch x)`touch x` !touch !!",
    "B; touch x & touch x | touch x > x #",
    'C it\'s "so" \\ $HOME ~ {a,b} [ab]*? 🦋, <(touch x)',
    "~root",
    "=ls",
)
LEFT_OUT = ("P\ntouch x", "P\x1b]0;x\x07", "P\u202etouch", "P\rtouch x", "-rf")
StartShell = Callable[[str], InteractiveShell]
TYPED = "archiver export folder out --highlight "


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLineUser]:
    """A user whose archive has an account with hostile titles."""
    titles = [*OFFERED, *LEFT_OUT]
    with FaultyStandIn(EditableWorld.generate(1, len(titles), 1)) as upstream:
        account = upstream.world.account("account0000")
        for highlight, title in zip(account.highlights, titles, strict=True):
            upstream.world.retitle(highlight.pk, title)
        user = CommandLineUser(tmp_path_factory.mktemp("completion"), upstream)
        user.list_accounts("account0000", "another.name", "787132")
        assert user.run("backup", "account0000").code == 0
        yield user


@pytest.fixture
def start_shell(user: CommandLineUser, tmp_path: Path) -> Iterator[StartShell]:
    """A function that starts a shell with the completion of this program."""
    shells: list[InteractiveShell] = []

    def start(name: str) -> InteractiveShell:
        script = user.run("completion", name)
        assert script.code == 0
        shells.append(InteractiveShell(name, tmp_path / name, script.out, user.environ))
        return shells[-1]

    yield start
    for shell in shells:
        shell.close()


@pytest.mark.parametrize("name", SHELLS)
def test_fault_x24_a_title_is_only_a_word(start_shell: StartShell, name: str) -> None:
    """Each title, completed from its first letter, is one argument that matches it; nothing runs."""
    shell = start_shell(name)
    for title in OFFERED[:3]:
        line = shell.complete(TYPED + title[0])
        assert len(line) > len(TYPED) + 1, title
        arguments = shell.enter()
        assert arguments == ["export", "folder", "out", "--highlight", glob.escape(title)]
        assert fnmatch.fnmatchcase(title, arguments[-1])
    assert not any(shell.cwd.iterdir())


@pytest.mark.parametrize("quote", ["'", pytest.param('"', marks=pytest.mark.whole)])
@pytest.mark.parametrize("name", BASH_EVERYDAY)
def test_fault_x24_an_open_quote_is_continued(start_shell: StartShell, name: str, quote: str) -> None:
    """After an opening quote too, a title is one argument, or is not offered at all; nothing runs."""
    shell = start_shell(name)
    for title in OFFERED[:3]:
        typed = f"{TYPED}{quote}{title[0]}"
        line = shell.complete(typed)
        if line == typed:
            assert (name, quote) == ("bash", '"')
            shell.clear()
            continue
        if line.rstrip()[-1] != quote or line.rstrip() == typed:
            shell.complete(quote)
        assert shell.enter()[-1] == glob.escape(title)
    assert not any(shell.cwd.iterdir())


@pytest.mark.parametrize("name", BASH_EVERYDAY)
def test_fault_x24_what_a_terminal_might_obey_is_left_out(start_shell: StartShell, name: str) -> None:
    """Titles with control characters or direction marks, and those like an option, are not offered."""
    shell = start_shell(name)
    assert shell.complete(f"{TYPED}P") == f"{TYPED}P"
    shell.clear()
    assert "-rf" not in shell.complete(f"{TYPED}-r")


_HEADS = st.sampled_from(["Gift", "Gi ft", "G=ft", "G:ft", "G@ft"])
_TAILS = st.lists(
    st.sampled_from(
        [
            "$(touch x)",
            "`touch x`",
            ";touch x;",
            "|touch x|",
            "&touch x&",
            "'",
            '"',
            "\\",
            " ",
            "!",
            "=",
            ":",
            "@",
        ]
    ),
    min_size=1,
    max_size=8,
).map("".join)
_CONTEXTS = st.sampled_from(
    [
        *(
            "",
            "",
            "",
            "",
            "",
            "true; ",
            "true && ",
            "echo 'a' | ",
            'x="a" ',
            "(",
            "{ ",
            "# it's ",
            "cd ${HOME}; ",
        ),
        *(
            "echo $(",
            "echo `",
            'echo "',
            'echo "$(',
            "echo '",
            "echo $'",
            "echo $'a\\' ",
            'echo \\" ',
            "echo <(",
        ),
    ]
)
_OPTIONS = st.sampled_from(
    ["--highlight ", "--highlight=", "--highlight '' ", "--highlight a --highlight ", ""]
)
_MARKS = st.lists(
    st.tuples(
        st.integers(0, 6), st.sampled_from(["'", '"', "''", '""', "\\", "$'", '$"', "$", "`", "$(", " "])
    ),
    max_size=2,
)


@st.composite
def _lines(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a title, and a line whose last word is to become this title: all that would run is in its end."""
    head = draw(_HEADS)
    word = head[: draw(st.integers(1, 4))]
    for at, mark in draw(_MARKS):
        word = word[:at] + mark + word[at:]
    return head + draw(_TAILS), f"{draw(_CONTEXTS)}archiver export folder out {draw(_OPTIONS)}{word}"


_FOUND = [
    ("Gift G$(touch x)", f"archiver add friend --highlights {word}")
    for word in ('Gift" G', 'G"if', "''Gif", '""Gif', "'G'if")
] + [("Gift G$(touch x)", f"archiver add friend --highlights={word}") for word in ('G"if', "'G'if")]


def test_fault_k2_no_beginning_of_a_word_lets_a_title_run_in_bash(
    user: CommandLineUser, start_shell: StartShell, whole: bool
) -> None:
    """Drawn titles after drawn lines, with quotes and the like anywhere before the cursor: nothing runs, also
    when what is open is closed then.
    """
    shell = start_shell("bash")

    def type_line(title: str, line: str) -> None:
        retitle_last(user, title)
        shell.complete(line)
        shell.end_line()
        assert not any(shell.cwd.iterdir())

    @settings(max_examples=200 if whole else 4, deadline=None)
    @given(_lines())
    def draw(drawn: tuple[str, str]) -> None:
        type_line(*drawn)

    try:
        for title, line in _FOUND if whole else _FOUND[:2]:
            type_line(title, line)
        draw()
    finally:
        retitle_last(user, LEFT_OUT[-1])


@st.composite
def _beginnings(draw: st.DrawFn) -> tuple[str, str, str]:
    """Draw a title, an opening quote or none, and how much of the title is typed after it."""
    head, quote = draw(_HEADS), draw(st.sampled_from(["", "'", "'", '"']))
    begun = head[: draw(st.integers(1, 4))]
    return head + draw(_TAILS), quote, begun if quote else begun.partition(" ")[0]


def test_fault_x24_the_finished_line_is_the_title_in_bash(
    user: CommandLineUser, start_shell: StartShell, whole: bool
) -> None:
    """Drawn titles, also those that end with a quote, after a drawn beginning: bash reads back the title, or
    nothing is offered, since double quotes cannot hold it.
    """
    shell = start_shell("bash")

    def type_line(title: str, quote: str, begun: str) -> None:
        retitle_last(user, title)
        typed = f"{TYPED}{quote}{begun}"
        if shell.complete(typed) == typed:
            assert quote == '"'
            assert set(title) & set('"$`\\!')
            shell.clear()
        else:
            assert shell.enter()[-1] == glob.escape(title)
        assert not any(shell.cwd.iterdir())

    @settings(max_examples=100 if whole else 3, deadline=None)
    @given(_beginnings())
    def draw(drawn: tuple[str, str, str]) -> None:
        type_line(*drawn)

    try:
        type_line("Rock 'n'", "'", "Ro")
        draw()
    finally:
        retitle_last(user, LEFT_OUT[-1])


def retitle_last(user: CommandLineUser, title: str) -> None:
    """Change the title of the last highlight in the archive."""
    with closing(sqlite3.connect(user.archive / "archive.db")) as rows, rows:
        last = "(select pk from highlights order by cast(pk as integer) desc limit 1)"
        rows.execute(f"update highlights set title = ? where pk = {last}", (title,))


@pytest.mark.parametrize("name", BASH_EVERYDAY)
def test_names_of_accounts_and_queries(start_shell: StartShell, name: str) -> None:
    """Commands, accounts of the configuration and of the archive, and named queries are completed."""
    shell = start_shell(name)
    for typed, line in (
        ("archiver verif", "archiver verify "),
        ("archiver remove ano", "archiver remove another.name "),
        ("archiver remove 78", "archiver remove 787132 "),
        ("archiver show @acc", "archiver show @account0000 "),
        ("archiver query most-m", "archiver query most-mentioned "),
        ("archiver search --account=ano", "archiver search --account=another.name "),
    ):
        assert shell.complete(typed) == line
        shell.clear()


def ask(user: CommandLineUser, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Return what the program answers to bash for these words."""
    asked = {
        "COMP_LINE": " ".join(words),
        "COMP_WORD": words[-1],
        "_ARCHIVER_COMPLETE": "bash_complete",
    }
    return subprocess.run(
        [sys.executable, "-m", "archiver"],
        env={**user.environ, **asked, **environ},
        cwd=user.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_only_listed_names_are_offered_for_removal(user: CommandLineUser, tmp_path: Path) -> None:
    """An archived account that is not on the list is offered by ``show``, not by ``remove``."""
    (tmp_path / "empty.toml").touch()
    for word, offered in (("show", "plain,account0000"), ("remove", "")):
        answer = ask(user, "archiver", word, "acc", ARCHIVER_CONFIG=str(tmp_path / "empty.toml"))
        assert answer.stdout.strip() == offered


def test_completion_prints_no_error_and_spends_nothing(
    user: CommandLineUser, tmp_path: Path, whole: bool
) -> None:
    """Without an archive, with a broken configuration or words, the answer is empty, and stderr too.

    Every day in two of these cases, with ``--whole`` in all.
    """
    assert user.upstream is not None
    before = len(user.upstream.requests)
    broken = tmp_path / "broken.toml"
    broken.write_text("[[")
    nothing = str(tmp_path / "none")
    cases: list[tuple[list[str], dict[str, str]]] = [
        (["archiver", "show", ""], {}),
        (["archiver", "show", ""], {"ARCHIVER_CONFIG": str(broken)}),
        (["archiver", "show", "--archive", nothing, "x"], {}),
        (["archiver", "show", "--config", str(broken), ""], {}),
        (["archiver", "nothing", "x"], {}),
        (["archiver", "'"], {}),
        (["archiver", "show", ""], {"_ARCHIVER_COMPLETE": "ksh_complete"}),
    ]
    for words, environ in cases if whole else cases[1:3]:
        answer = ask(user, *words, **environ)
        assert (answer.returncode, answer.stderr) == (0, "")
    assert ask(user, "archiver", "show", "").stdout.split() == ["plain,account0000", "plain,another.name"]
    assert len(user.upstream.requests) == before


def test_words_before_the_cursor_name_the_archive(user: CommandLineUser, tmp_path: Path) -> None:
    """--archive and --config on the line decide what is completed."""
    none = str(tmp_path / "none")
    words = ["archiver", "export", "folder", "out", "--archive", none, "--highlight", ""]
    assert ask(user, *words).stdout.strip() == ""
    words[5] = str(user.archive)
    assert len(ask(user, *words).stdout.splitlines()) == len(OFFERED)


def test_completion_is_quick(user: CommandLineUser) -> None:
    """Completing a title takes less than half a second of the processor."""
    before = os.times()
    ask(user, "archiver", "export", "folder", "out", "--highlight", "")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.5

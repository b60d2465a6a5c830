"""Paths, as a person names them."""

from __future__ import annotations

import os
from pathlib import Path

import click


class Named(click.Path):
    """The type of a path that somebody names. An empty text names none: to the system it would be the present
    directory.

    Whether it can be read is not asked here: that is an error of what is read there, not of usage.
    """

    def __init__(self, what: str) -> None:
        """``what`` it names: ``directory``."""
        super().__init__(path_type=Path, readable=False)
        self._what = what

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """The path as it was named, or click's usage error."""
        if value == "":
            present = "; . is the present one" if self._what == "directory" else ""
            self.fail(f"it is empty, and names no {self._what}{present}", param, ctx)
        return super().convert(value, param, ctx)


class Place(Named):
    """The type of an argument that is a directory to write into."""

    def __init__(self, *, stdout: bool = False) -> None:
        """``stdout``: whether ``-`` is a place, too."""
        super().__init__("directory")
        self._stdout = stdout

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """The path as it was named, or click's usage error."""
        if value == "-" and not self._stdout:
            self.fail("- is stdout, and this form is many files; ./- is a directory of that name", param, ctx)
        return super().convert(value, param, ctx)

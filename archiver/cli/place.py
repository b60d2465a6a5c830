"""Where to write, as a person names it."""

from __future__ import annotations

import os
from pathlib import Path

import click


class Place(click.Path):
    """The type of an argument that is a directory to write into. An empty text is none: to the system it would be the present one."""

    def __init__(self, *, stdout: bool = False) -> None:
        """``stdout``: whether ``-`` is a place, too."""
        super().__init__(path_type=Path)
        self._stdout = stdout

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """The path as it was named, or click's usage error."""
        if value == "":
            self.fail("it is empty, and names no directory; . is the present one", param, ctx)
        if value == "-" and not self._stdout:
            self.fail("- is stdout, and this form is many files; ./- is a directory of that name", param, ctx)
        return super().convert(value, param, ctx)

"""The calls that a program makes to the kernel: a command under strace, and strace's log read call by call.

strace counts ``when`` for each call name and each thread by itself. A kill at the n-th ``fsync`` therefore
comes on the thread that first gets so far; what the others would have done between their own calls is left to
powerloss.py, whose disks with everything kept are those of a kill at every call of every thread. An injected
error comes on each thread that gets so far.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_WHOLE_STRINGS = 64_000_000  # bytes of a buffer that strace writes out
_STRACE = ("strace", "-f", "-qq", "-e", "signal=none")
_QUICK = "--seccomp-bpf"  # stops the program at the traced calls only; strace 6.13 sends no signal then

_LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>)?(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?|0x[0-9a-f]+)(.*)", re.DOTALL)
_UNFINISHED = "<unfinished ...>"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has ended.

    ``began``: how many calls had ended when it began. ``refused``: the kernel did not grant it.
    """

    thread: int
    name: str
    arguments: str
    result: int
    refused: bool
    began: int


def recording(log: Path, names: Sequence[str]) -> list[str]:
    """The words before a command that write these calls, those of all its threads, to ``log``."""
    trace = f"trace=/^({'|'.join(names)})$"
    return [*_STRACE, _QUICK, "-y", "-xx", "-s", str(_WHOLE_STRINGS), "-e", trace, "-o", str(log)]


def injecting(call: str, fault: str, about: Sequence[Path] = ()) -> list[str]:
    """The words before a command in which a fault (``signal=SIGKILL:when=3``, ``error=EIO:when=2+``) meets a
    call.

    ``when`` counts each thread's calls by themselves; with ``about``, only those that name one of these paths
    or hold it open.
    """
    words = [*_STRACE, *([] if "signal" in fault else [_QUICK])]
    words += [word for path in about for word in ("-P", str(path))]
    return [*words, "-e", f"trace={call}", "-e", f"inject={call}:{fault}", "-o", os.devnull]


def calls(log: Path) -> Iterator[Call]:
    """The calls in ``log`` in the order in which they ended; one that the end of the program cut off is left
    out.
    """
    begun: dict[int, tuple[str, int]] = {}
    ended = 0
    with log.open(newline="\n") as lines:
        for line in lines:
            match = _LINE.match(line.rstrip("\n"))
            assert match is not None, line[:200]
            thread, text = int(match[1]), match[2]
            if text.startswith("+++"):
                continue
            earlier, began = begun.pop(thread, ("", ended))
            if text.endswith(_UNFINISHED):
                begun[thread] = (text.removesuffix(_UNFINISHED), began)
                continue
            call = _CALL.match(earlier + text)
            assert call is not None, text[:200]
            name, arguments, result, rest = call.groups()
            if result == "?":
                continue
            ended += 1
            yield Call(thread, name, arguments, int(result, 0), rest.lstrip().startswith("E"), began)

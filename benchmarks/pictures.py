"""Draw the pictures of docs/performance.md. The same figures give the same bytes.

matplotlib comes with the development tools. It is imported when a picture is drawn, after all measurements: a
measured process would begin with the memory of this one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = 3.2  # inches
_LABELS = 2.4  # inches, left of the first panel, and of one with other groups
_COLOURS = ("#d5d8dc", "#9aa0a6", "#5f6b7a", "#c9a227", "#3f8f5f", "#1f6feb")
"""The last series is archiver, or the last database."""
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text: it is small, and sharp at any size
    "svg.hashsalt": "archiver",  # else the ids in the file are random
}
_PAPER = "#ffffff"  # not transparent: the text is as readable on a dark page


@dataclass(frozen=True, slots=True)
class Bars:
    """A panel of horizontal bars: for each group one bar of each series, None where there is none."""

    title: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Curve:
    """A panel of one curve from 0 upwards, over sizes that grow tenfold."""

    title: str
    sizes: str
    points: Mapping[int, float]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--picture FILE``, which is checked when the arguments are parsed."""
    parser.add_argument("--picture", type=_picture, metavar="FILE", help="draw the figures, as SVG or PNG")


def _picture(path: str) -> Path:
    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("matplotlib is missing: pip install matplotlib")
    if not Path(path).parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {Path(path).parent}")
    return Path(path)


def draw(path: Path, title: str, panels: Sequence[Bars | Curve]) -> None:
    """Draw the panels beside each other."""
    import matplotlib as mpl

    mpl.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot

    with mpl.rc_context(_STYLE):
        figure, axes = pyplot.subplots(
            1,
            len(panels),
            figsize=(_width(panels), _height(panels)),
            squeeze=False,
            layout="constrained",
        )
        figure.suptitle(title, fontsize=10)
        for axis, panel in zip(axes[0], panels, strict=True):
            if isinstance(panel, Bars):
                _draw_bars(axis, panel, is_first=axis is axes[0][0], has_labels=_has_labels(panels, panel))
            else:
                _draw_curve(axis, panel)
        _save(figure, path)
        pyplot.close(figure)


def _width(panels: Sequence[Bars | Curve]) -> float:
    return _PANEL * len(panels) + _LABELS * sum(_has_labels(panels, panel) for panel in panels)


def _has_labels(panels: Sequence[Bars | Curve], panel: Bars | Curve) -> bool:
    """Return whether the groups of a panel are not those of the first one, whose labels stand beside it."""
    if not isinstance(panel, Bars):
        return False
    first = panels[0]
    return panel is first or not isinstance(first, Bars) or panel.groups != first.groups


def _height(panels: Sequence[Bars | Curve]) -> float:
    bars = [len(panel.groups) * (len(panel.series) + 1) for panel in panels if isinstance(panel, Bars)]
    return 1.1 + 0.2 * max(bars) if bars else 2.8


def _draw_bars(axis: Axes, panel: Bars, *, is_first: bool, has_labels: bool) -> None:
    count = len(panel.series)
    high = max(value or 0 for values in panel.series.values() for value in values)
    colours = _COLOURS[len(_COLOURS) - count :]
    for place, ((name, values), colour) in enumerate(zip(panel.series.items(), colours, strict=True)):
        rows = [group * (count + 1) + place for group in range(len(values))]
        axis.barh(rows, [value or 0 for value in values], height=0.85, color=colour, label=name)
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                axis.text(value + high / 80, row, f"{value:.3g}", va="center", fontsize=8)
    axis.set_yticks(
        [group * (count + 1) + (count - 1) / 2 for group in range(len(panel.groups))],
        panel.groups if has_labels else [""] * len(panel.groups),
    )
    axis.tick_params(axis="y", length=0)
    axis.set_xlim(0, high * 1.15)
    axis.invert_yaxis()
    axis.set_title(panel.title, fontsize=9, loc="left")
    if is_first and count > 1:
        axis.figure.legend(loc="outside lower center", ncols=count, frameon=False, fontsize=8)


def _draw_curve(axis: Axes, panel: Curve) -> None:
    sizes, values = list(panel.points), list(panel.points.values())
    axis.plot(sizes, values, marker="o", color=_COLOURS[-1])
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.minorticks_off()
    axis.margins(x=0.15)
    axis.set_ylim(0, max(values) * 1.3)
    for size, value in panel.points.items():
        axis.annotate(f"{value:.3g}", (size, value), (0, 7), textcoords="offset points", ha="center")
    axis.set_xlabel(panel.sizes)
    axis.set_title(panel.title, fontsize=9, loc="left")


def _save(figure: Figure, path: Path) -> None:
    # The date and the version of matplotlib would change the file each time.
    without = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, facecolor=_PAPER, metadata=without, dpi=110)

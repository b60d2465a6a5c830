"""Measure a night in which nothing changed: units, calls, CDN requests, peak memory, and CPU per account.

    python benchmarks/quiet_night.py [--accounts 1000] [--highlights 20] [--items 1]

Fills an archive from the stand-in and measures the next night: with a tenth of the accounts, then with all.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from standin import Measurement, archiver, upstream


def main() -> None:
    """Print a line for a tenth of the accounts, a line for all, and the ratio of their peak memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--highlights", type=int, default=20)
    parser.add_argument("--items", type=int, default=1)
    options = parser.parse_args()
    peaks = []
    for accounts in (max(1, options.accounts // 10), options.accounts):
        counts, night = measure(accounts, options.highlights, options.items)
        peaks.append(night.peak)
        print(
            f"{accounts} accounts x {options.highlights} highlights: {counts['units']} units, "
            f"{counts['api_calls']} API calls, {counts['cdn_requests']} CDN requests, "
            f"peak {night.peak:.0f} MiB, {night.cpu / accounts * 1000:.1f} ms CPU per account, "
            f"{night.wall:.1f} s",
            flush=True,
        )
    print(f"peak memory, {options.accounts} accounts : a tenth of them = {peaks[1] / peaks[0]:.2f}")


def measure(accounts: int, highlights: int, items: int) -> tuple[dict[str, int], Measurement]:
    """Return what the stand-in counted in the quiet night, and the measurements of the run."""
    size = ("--accounts", str(accounts), "--highlights", str(highlights), "--items", str(items))
    with tempfile.TemporaryDirectory() as folder, upstream(*size, "--balance", "100000000") as world:
        home = Path(folder)
        environ = world.init_nights(home, accounts)
        archiver(environ, "run", cwd=home)
        world.counts(reset=True)
        night = archiver(environ, "run", cwd=home)
        return world.counts(), night


if __name__ == "__main__":
    main()

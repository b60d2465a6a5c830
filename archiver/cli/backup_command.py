"""``archiver backup``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import advice, load, output, run_report
from archiver.cli.change_summary import RunChanges
from archiver.cli.decorators import plain
from archiver.cli.filter_options import complete_account
from archiver.cli.options import GlobalOptions, is_on_terminal, list_file_option, run_options
from archiver.config import ArchiveSection, Config, locate
from archiver.exit_codes import PARTIAL
from archiver.model.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archiver.cli.plan_command import PlanResult
    from archiver.model.target import Target
    from archiver.runner.context import RunOptions
    from archiver.runner.tally import Summary


@plain("backup", json=run_report.empty_fields)
@click.argument("targets", nargs=-1, metavar="[TARGET...]", shell_complete=complete_account)
@list_file_option
@run_options
def command(
    options: GlobalOptions,
    targets: tuple[str, ...],
    list_files: tuple[Path, ...],
    full: bool,
    max_units: int | None,
    dry_run: bool,
    wait: bool,
) -> PlanResult | int:
    """Archive accounts or highlights now, once. It needs HIKERAPI_TOKEN, but no configuration.

    A TARGET is a username, @username, numeric user id, profile or highlight link, highlight:<pk> or /s/ share
    link. "-" reads a list from stdin, -i from a file. The archive is made if the directory is missing or
    empty.

    It costs 1 or 2 units for an account and 1 for each highlight that is new or changed; pictures and videos
    are free.

    \b
    Examples:
      archiver backup natgeo --archive ./natgeo
      archiver backup https://www.instagram.com/stories/highlights/17983407089364361/
      archiver backup -i accounts.txt --max-units 100
    """
    from archiver.runner.context import RunOptions

    asked = load.targets(targets, list_files)
    config = load.config(options)
    changes, run_options = RunChanges(), RunOptions(full=full, from_config=False, ignore_backoff=True)
    if dry_run:
        return _make_plan(options, config, asked, run_options, max_units)
    with load.open_archive(options) as archive:
        summary = run_report.make_run(
            options,
            archive,
            asked,
            command="backup",
            run_options=run_options,
            max_units=max_units,
            wait=wait,
            create_missing=True,
            changes=changes,
        )
    code = run_report.print_report(options, summary, changes, is_product=True)
    if options.is_watched:
        output.print_messages(f"archive: {config.archive.directory}")
    path, _ = locate(options.config, os.environ)
    first = summary.run_id == 1 and code in (0, PARTIAL) and not path.exists()
    if first and is_on_terminal() and not options.quiet and options.blank is None:
        output.print_messages(
            *advice.nightly_steps(existing_targets(asked, summary), config.archive.directory, path)
        )
    return code


def _make_plan(
    options: GlobalOptions,
    config: Config,
    targets: Sequence[Target],
    run_options: RunOptions,
    max_units: int | None,
) -> PlanResult:
    """Return what a backup would do and cost; if there is no archive yet, from an empty, temporary one."""
    from tempfile import TemporaryDirectory

    from archiver.archive.creation import create_archive, is_archive
    from archiver.cli.plan_command import make_plan

    root = config.archive.directory
    with ExitStack() as stack:
        is_new = not is_archive(root)
        if is_new:
            if not options.quiet:
                output.print_messages(f"the archive {root} would be made")
            place = Path(stack.enter_context(TemporaryDirectory())) / "archive"
            config = replace(config, archive=ArchiveSection(directory=place))
            create_archive(config)
        archive = stack.enter_context(load.open_archive(options, config))
        return make_plan(options, archive, targets, run_options, max_units=max_units, can_list=not is_new)


def existing_targets(targets: Sequence[Target], summary: Summary) -> list[Target]:
    """Return the targets that exist: a misspelled one should not go into a configuration."""
    absent = {failure.subject_pk for failure in summary.failures if failure.subject == "target"}
    return [t for t in targets if absent.isdisjoint({t.username, t.user_pk, t.highlight_pk, t.text})]

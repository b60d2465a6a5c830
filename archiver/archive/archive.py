"""The archive, for the command line and Python programs. The names in docs/python.md are public."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar, Unpack
from weakref import WeakSet

from archiver.archive import arguments
from archiver.archive.database import locate_database
from archiver.archive.iterator import Reading
from archiver.archive.session import (
    Session,
    open_for_dry_run,
    open_for_reading,
    open_for_writing,
    require_blobs,
)
from archiver.archive.work import Work
from archiver.config import ArchiveSection, Config, load
from archiver.errors import JournalDiffers, NoArchive, SchemaOld, UsageError
from archiver.model.identity import utcnow
from archiver.model.query_rows import NO_LIMIT, Rows, RowStream, Value
from archiver.model.target import ItemTarget, Target, parse_target_or_item
from archiver.model.values import replace
from archiver.runner.threads import StopFlag
from archiver.secret import Secret

# Methods import what only they need: `status` takes a tenth less time for it.
if TYPE_CHECKING:
    from archiver.archive.exports import MediaOptions, TableOptions
    from archiver.archive.followed_accounts import FollowedAccount, Removal
    from archiver.archive.reports import CostReport
    from archiver.archive.selection import AccountName, HighlightName, Narrowing, SubjectName
    from archiver.archive.subject_details import Details
    from archiver.archive.verification import RepairReport, Verification
    from archiver.catalog import Catalog
    from archiver.export.export_check import CheckedForm
    from archiver.export.export_entry import ExportStats
    from archiver.export.table_files import TableForm
    from archiver.model.account_removal import AccountRemoval
    from archiver.model.api_calls import BudgetLeft, CostsBy
    from archiver.model.archived import (
        Gap,
        KeptAccount,
        KeptFile,
        KeptHighlight,
        KeptItem,
        NamedChange,
        Placed,
        Selection,
    )
    from archiver.model.events import Event
    from archiver.model.foreign_files import AdoptionReport, ForeignTool, WaitingFile
    from archiver.model.run_status import Status
    from archiver.model.search_hits import Hit, Kind
    from archiver.model.upstream import Balance
    from archiver.reread.reread import RereadReport
    from archiver.runner.context import RunOptions
    from archiver.runner.forecast import AccountPlan
    from archiver.runner.tally import Summary
    from archiver.web.serve_options import ServeOptions

    Accounts = AccountName | Iterable[AccountName]
    Targets = AccountName | HighlightName | Iterable[AccountName | HighlightName]

T = TypeVar("T")

Progress = Callable[[int, int], None]


def open_archive(
    path: str | os.PathLike[str],
    *,
    database: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    key: str | None = None,
) -> Archive:
    """Open the archive in the directory ``path`` for reading, also during a run. Reading never writes.

    ``database``: the file or PostgreSQL URL of its rows, if it is not ``<path>/archive.db``. ``config``: the
    TOML file with the settings of a run (without it the defaults); ``key``: the API key, if that file names
    no ``token_file``. Environment variables are ignored. Raises UsageError, ConfigError, NoArchive,
    MarkerMismatch if the database belongs to another archive, SchemaOld or SchemaNew if another version made
    it, DatabaseError, StorageError.
    """
    root = arguments.require_directory(path)
    place = str(arguments.require_path("database", database)) if database is not None else None
    if config is None:
        settings = Config(archive=ArchiveSection(directory=root), accounts_archive=root)
    else:
        settings = load(arguments.require_path("config", config), {}, {"archive.directory": str(root)})
    if place is not None:
        place = str(database) if isinstance(database, str) else place
        section = replace(settings.archive, database=place, query_database=None)
        settings = replace(settings, archive=section, database_archive=root)
    if key is not None:
        settings = replace(settings, token=Secret(arguments.require_text("key", key, "text")))
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(settings))
        archive._open()
        stack.pop_all()
        return archive


class Archive:
    """An archive. The first read opens it; ``close``, or the end of a ``with`` block, closes it.

    ``run``, ``repair``, ``reread`` and ``adopt`` hold the archive's lock while they write. Any thread may
    call any method; an iterator belongs to one thread at a time. It shows the archive as of its first value.
    It holds a connection until it ends, is closed, or is no longer referred to; ``close`` ends the others.
    After that every method and every iterator raises ValueError, like a closed file. An invalid argument
    raises when the method is called, not when the first value is read.
    """

    def __init__(
        self,
        config: Config,
        *,
        database: str | Path | None = None,
        on_behind: Callable[[JournalDiffers], None] = lambda error: None,
    ) -> None:
        """Use the archive of a configuration. ``database``: its database, opened under another role.

        ``on_behind`` is called when the archive is opened, if ``is_behind``, with what to say about it.
        """
        self._config = config
        self._database = database
        self._on_behind = on_behind
        self._stack = ExitStack()
        self._opened: Session | None = None
        self._readings: WeakSet[Reading[Any]] = WeakSet()
        self._is_closed = False

    # --- identity

    @property
    def root(self) -> Path:
        """Return the directory of the archive, absolute."""
        return self._config.archive.directory

    @property
    def id(self) -> str:
        """Return the archive's own id, the same in its marker and its database, and in every copy."""
        return self._catalog.archive_id

    @property
    def storage(self) -> str | None:
        """Where blobs, answers and journal are: ``s3://bucket/prefix``, or None for the directory."""
        return self._config.archive.storage

    @property
    def is_behind(self) -> bool:
        """Return whether the journal had entries that the database lacked when the archive was opened.

        The database is an older copy, or has another history. What it lacks is not shown until ``archiver db
        rebuild`` has followed the journal.
        """
        return self._open().lacking is not None

    # --- contents

    def accounts(self) -> Reading[KeptAccount]:
        """Return every account, by ascending pk."""
        from archiver.catalog.query import content
        from archiver.model.archived import Selection

        return self._read(self._catalog.stream(content.accounts, Selection()))

    def highlights(
        self, *, accounts: Accounts | None = None, titles: str | Iterable[str] | None = None
    ) -> Reading[KeptHighlight]:
        """Return the highlights, account by account: shown ones in profile order, then gone ones."""
        from archiver.catalog.query import content

        selected = self._select(accounts=accounts, titles=titles)
        return self._read(self._catalog.stream(content.highlights, selected))

    def items(self, **narrowing: Unpack[Narrowing]) -> Reading[KeptItem]:
        """Return each item once, by ascending pk, whichever highlights show it."""
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.items, self._select(**narrowing)))

    def contents(self, **narrowing: Unpack[Narrowing]) -> Reading[Placed]:
        """Return the items in their places, highlight by highlight as in ``highlights``, the oldest first."""
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.contents, self._select(**narrowing)))

    def places(self, item: KeptItem) -> tuple[Placed, ...]:
        """Return where one item is or was shown: its place in each of its highlights."""
        from archiver.catalog.query import content
        from archiver.model.archived import KeptItem, Selection

        pk = arguments.require_instance("item", item, KeptItem).pk
        return tuple(self._catalog.stream(content.contents, Selection(item_pks=(pk,))))

    def walk(self, **narrowing: Unpack[Narrowing]) -> Reading[KeptAccount | KeptHighlight | Placed]:
        """Return each account, followed by its highlights, each followed by its items in their places.

        Highlights without any selected item, and accounts without any selected highlight, are left out.
        """
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.walk, self._select(**narrowing)))

    def account(self, name: AccountName) -> KeptAccount:
        """Return the account of that username (or a former one), id or profile link.

        Raises NotHeld, naming similar accounts, and UsageError if several have had the name.
        """
        from archiver.archive import selection

        return selection.find_account(self._catalog, selection.read_account(name))

    def usernames(self, prefix: str) -> tuple[str, ...]:
        """Return the current usernames that begin with ``prefix``, in any case: at most 500, sorted."""
        from archiver.catalog.query import name_prefixes

        return self._catalog.read(name_prefixes.usernames, prefix)

    def titles(self, prefix: str) -> tuple[str, ...]:
        """Return the titles of highlights that begin with ``prefix``, each once: at most 500, sorted."""
        from archiver.catalog.query import name_prefixes

        return self._catalog.read(name_prefixes.titles, prefix)

    def highlight(self, pk: str) -> KeptHighlight:
        """Return the highlight of that pk, ``highlight:<pk>`` or link. Raises NotHeld."""
        from archiver.archive import selection

        return selection.find_highlight(self._catalog, selection.read_highlight_pk(pk))

    def item(self, name: str) -> KeptItem:
        """Return the item of that pk or code. Raises NotHeld."""
        from archiver.archive import selection

        name = arguments.require_text("item", name, "pk or code")
        target = parse_target_or_item(name if name.startswith("item:") else f"item:{name}")
        assert isinstance(target, ItemTarget)
        return selection.find_item(self._catalog, target)

    def show(self, subject: SubjectName) -> Details:
        """Return an account, highlight or item with everything that ``archiver show`` prints about it.

        A number is an account's id, else a highlight's pk, else an item's; a name that no account has may be
        an item's code. Raises NotHeld, and UsageError if several accounts have had the name.
        """
        from archiver.archive import selection
        from archiver.archive.subject_details import read_details

        return read_details(self._open(), selection.read_subject(subject))

    # --- files

    def files(self) -> Reading[KeptFile]:
        """Return every file, replaced ones too, in the order in which they were stored."""
        from archiver.catalog.query import content

        return self._read(self._catalog.stream(content.files))

    def current_files(self, subject: SubjectName) -> Reading[KeptFile]:
        """Return the newest stored file of each role of an account, highlight or item, without duplicates.

        For an account: the avatar, each highlight's cover, then the files of its items. Raises NotHeld.
        """
        from archiver.archive import selection
        from archiver.archive.subject_details import read_current_files

        found = selection.find_subject(self._catalog, selection.read_subject(subject))
        return self._read(read_current_files(self._catalog, found))

    def location(self, file: KeptFile | WaitingFile) -> str:
        """Return where a file is: its absolute path, or its ``s3://`` name if the archive is in a bucket."""
        return self._open().store.location(_require_file(file).blob.sha256)

    def path(self, file: KeptFile | WaitingFile) -> Path:
        """Return the absolute path of a file. It exists unless ``file.lost_at`` is set; never change it.

        Raises UsageError if the archive is in a bucket: see ``open`` and ``location``.
        """
        location = self.location(file)
        if self.storage is not None:
            raise UsageError(f"{location} has no path: read it with open()")
        return Path(location)

    def open(self, file: KeptFile | WaitingFile) -> BinaryIO:
        """Open a file for reading; the caller closes it. Raises StorageError if its bytes are missing."""
        return self._open().store.open(_require_file(file).blob.sha256)

    # --- search and SQL

    def search(
        self,
        text: str,
        *,
        accounts: Accounts | None = None,
        highlights: HighlightName | Iterable[HighlightName] | None = None,
        kinds: Kind | str | Iterable[Kind | str] | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Reading[Hit]:
        """Return the accounts, highlights and items that have all words of ``text``, best first.

        ``kinds``: one of ``Kind``, or several. ``since``: made since then, or first seen since
        then if the time it was made is unknown. An empty list selects nothing. Raises UsageError, also for a
        text without a word.
        """
        from archiver.catalog.search import results
        from archiver.catalog.search.query_parser import SearchQuery
        from archiver.model.search_hits import Kind

        query = SearchQuery.parse(arguments.require_text("text", text, "text to search for"))
        of_kinds = arguments.read_several(kinds, lambda one: arguments.require_choice("kinds", one, Kind))
        made_since, most = arguments.read_time("since", since), arguments.read_count("limit", limit)
        selected = self._select(accounts=accounts, highlights=highlights)
        hits = self._catalog.stream(
            results.hits,
            query,
            user_pks=selected.user_pks,
            highlight_pks=selected.highlight_pks,
            kinds=of_kinds or (),
            since=made_since,
            limit=0 if of_kinds == () else most,
        )
        return self._read(hits)

    def count_unsearchable(self) -> int:
        """Return how many things another program has changed; the next run makes them searchable again."""
        from archiver.catalog.search import results

        return self._catalog.read(results.count_stale)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Value] | None = None,
        *,
        limit: int | None = None,
        seconds: float = 60.0,
        own_process: bool = False,
    ) -> Rows:
        """Return the rows of one read-only SQL statement: at most ``limit`` rows, within ``seconds``.

        ``parameters`` are bound where the statement says ``:name``. ``own_process``: nothing else in this
        process uses SQLite, so its memory limit may be lowered permanently. Raises QueryRefused, UsageError.
        """
        most = arguments.read_count("limit", limit)
        return self._catalog.run_query(
            arguments.require_text("sql", sql, "statement"),
            rows=NO_LIMIT if most is None else most,
            seconds=arguments.require_seconds("seconds", seconds),
            parameters=arguments.read_parameters(parameters),
            own_process=own_process,
        )

    def stream_query(
        self, sql: str, parameters: Mapping[str, Value] | None = None, *, seconds: float = 60.0
    ) -> AbstractContextManager[RowStream]:
        """Return a context manager that streams the rows of a statement. Needs a process of its own.

        Raises QueryRefused, also after some rows.
        """
        return self._catalog.stream_query(sql, seconds=seconds, parameters=parameters)

    def tables(self) -> Rows:
        """Return every table and view, column by column, with what docs/schema.md says about each."""
        from archiver.archive.schema_rows import read_schema

        postgresql = locate_database(self._config).url is not None
        return read_schema(self._catalog, postgresql=postgresql)

    # --- reports

    def status(self) -> Status:
        """Return the archive in numbers."""
        from archiver.archive.archive_status import read_status

        return read_status(self._open())

    def metrics(self, *, by_account: bool = False) -> str:
        """Return the archive in numbers, in the text format of Prometheus. Makes no call.

        ``by_account``: add gauges that name each account in their labels.
        """
        from archiver.archive.archive_metrics import read_metrics

        return read_metrics(self._open(), by_account=by_account)

    def changes(
        self, accounts: Accounts | None = None, *, since: datetime | None = None, run_id: int | None = None
    ) -> Reading[NamedChange]:
        """Return what owners edited, added and removed, in the order in which it was seen.

        ``since``: only from that time on. ``run_id``: only what one run saw. ``accounts``: only theirs.
        Raises NotHeld, and UsageError if there was no such run.
        """
        from archiver.archive import reports, selection
        from archiver.catalog.query import change_history

        after = arguments.read_time("since", since)
        targets = selection.read_accounts(accounts)
        if run_id is not None:
            reports.require_run(self._catalog, run_id)
        pks = selection.NO_PKS if targets == () else selection.require_pks(self._catalog, targets or ())
        return self._read(
            self._catalog.stream(change_history.changes, since=after, run_id=run_id, user_pks=pks)
        )

    def gaps(self, accounts: Accounts | None = None) -> Reading[Gap]:
        """Return the gaps of these accounts, or of all, account by account.

        An entry of the configuration that no run has reached is a gap. Raises NotHeld.
        """
        from archiver.archive import reports, selection

        return self._read(reports.read_gaps(self._open(), selection.read_accounts(accounts)))

    def costs(self, by: CostsBy | str = "day", *, since: datetime | None = None) -> CostReport:
        """Return what was paid, from ``since`` on or in total, by day (UTC), account, endpoint or run."""
        from archiver.archive import reports
        from archiver.model.api_calls import CostsBy

        chosen = arguments.require_choice("by", by, CostsBy)
        return reports.read_costs(self._open(), chosen, arguments.read_time("since", since))

    def units_per_night(self) -> int | None:
        """Return the median price of a night over the last 30 days; None if there was no run."""
        from archiver.archive import reports

        return reports.read_units_per_night(self._open())

    def budget_left(
        self, *, max_units: int | None = None, clock: Callable[[], datetime] = utcnow
    ) -> BudgetLeft | None:
        """Return what the tightest limit leaves for a run now; None without limits.

        ``max_units``: the limit of this run, beside those of the budget.
        """
        from archiver.archive.nightly_run import read_budget_left

        return read_budget_left(self._open(), clock, max_units)

    def balance(self) -> Balance:
        """Return the units left at the API, by a free call.

        Raises KeyMissing, KeyRejected, UpstreamDown, CallFailed.
        """
        from archiver.archive.nightly_run import ask_balance

        return ask_balance(self._config)

    # --- runs

    def plan(
        self,
        targets: Targets | None = None,
        *,
        options: RunOptions | None = None,
        since: datetime | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> list[AccountPlan]:
        """Return what the next run would do for each target, and what that costs. Makes no call.

        ``targets`` and ``options`` as in ``run``. ``since``: the start of a run that only listed trays
        (``RunOptions.list_only``); its trays make the plan exact. Raises UsageError, TargetError.
        """
        from archiver.archive.nightly_run import plan_targets

        found, chosen = self._run_targets(targets, options)
        after = arguments.read_time("since", since)
        return list(plan_targets(self._open(), found, options=chosen, since=after, clock=clock))

    def run(
        self,
        targets: Targets | None = None,
        *,
        options: RunOptions | None = None,
        max_units: int | None = None,
        wait: bool = False,
        command: str | None = None,
        observe: Callable[[Event], None] = lambda event: None,
        stop: StopFlag | None = None,
        on_changes: Callable[[Iterator[NamedChange]], None] | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> Summary:
        """Archive the accounts of the configuration, or these accounts and highlights. Costs units.

        Without ``options``, named targets are tried at once despite their back-off, as in ``archiver
        backup``. ``max_units`` lowers the budget of this run. ``wait``: wait for another run to end.
        ``command`` is the name under which the run is recorded. The trays of one named "plan" serve the next
        run. ``observe`` gets each event, ``on_changes`` what owners changed, while the archive is still open;
        it must not raise. ``stop`` ends the run early.
        ``clock``: the time, aware and in UTC.

        Errors of single accounts are in the summary. Raises errors that prevent a run from starting:
        KeyMissing, NoArchive, ArchiveLocked, UsageError, StorageError, DatabaseError.
        """

        found, chosen = self._run_targets(targets, options)
        is_shared = self._config.cluster.enabled and chosen.from_config and not chosen.list_only
        if is_shared and chosen.repair is None:
            from archiver.archive.shared_run import run_shared as run_targets  # few need it
        else:
            from archiver.archive.nightly_run import run_targets
        return run_targets(
            self._config,
            found,
            command=command or ("plan" if chosen.list_only else "run" if chosen.from_config else "backup"),
            options=chosen,
            max_units=arguments.read_count("max_units", max_units),
            wait=wait,
            observe=observe,
            stop=stop or StopFlag(),
            on_changes=on_changes,
            clock=clock,
        )

    def work(
        self,
        *,
        concurrency: int | None = None,
        until_idle: bool = False,
        observe: Callable[[Event], None] = lambda event: None,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        """Visit accounts for the runs of the configuration, beside other workers, until ``stop`` is set.

        Costs units. ``concurrency``: the downloads at a time; None: as configured. ``until_idle``: return
        once no account of an open run is free. ``observe``, ``clock``: as for ``run``. Raises UsageError if
        the configuration is not for workers, KeyMissing, KeyRejected, UpstreamDown, DiskFull, the cause of
        ``stop``, and errors of the database or the store that last for more than ten minutes.
        """
        from archiver.archive.worker import work

        work(
            self._config,
            concurrency=arguments.read_count("concurrency", concurrency),
            until_idle=until_idle,
            observe=observe,
            stop=stop or StopFlag(),
            clock=clock,
        )

    def configured_entry(self, target: Target) -> Target | None:
        """Return the entry of the configuration for the same account, as far as the archive knows.

        An account may be named by its id or by any name that it has or had. None if no entry matches, or
        several.
        """
        from archiver.catalog.query import account_state

        if target.highlight_pk is not None or not self._config.accounts:
            return None
        read = self._catalog.read
        pks = read(account_state.archived_pks, target)
        entries = [
            e for e in self._config.accounts if read(account_state.resolve, e, from_config=True) in pks
        ]
        return entries[0] if len(entries) == 1 else None

    def account_overview(self) -> tuple[FollowedAccount, ...]:
        """Return each entry of the configuration with what is stored of it, then all other accounts.

        Before the first run, when there is no archive yet, every entry is new. Raises NoArchive if nothing is
        listed either.
        """
        from archiver.archive.followed_accounts import not_yet_followed, read_followed

        try:
            session = self._open()
        except NoArchive:
            if not self._config.accounts:
                raise
            return tuple(not_yet_followed(self._config))
        return tuple(read_followed(session))

    def split_listed(self, targets: Sequence[Target]) -> tuple[list[Target], list[tuple[Target, Target]]]:
        """Return the targets that the configuration does not list, and the others with their entries.

        An account is listed under any name that leads to it, as far as the archive knows. Raises UsageError
        for a target that is listed with other highlights.
        """
        from archiver.archive.followed_accounts import split_listed

        session = self._open_if_current()
        catalog = session.catalog if session is not None else None
        return split_listed(catalog, self._config.accounts, targets)

    def unfollow(self, name: AccountName, *, dry_run: bool = False, wait: bool = False) -> Removal:
        """Take an account off the list of the configuration, and end the binding of its names.

        What is archived stays. The account may be named by a present or former username, its id or a link; a
        highlight that is listed by itself, by its link. Entries of single highlights of the account go with
        it. ``dry_run``: change nothing. Raises ConfigError, StorageError, ArchiveLocked, DatabaseError.
        """
        from archiver.archive import selection
        from archiver.archive.followed_accounts import unfollow

        target = selection.read_account(name)
        try:
            session = self._open()
        except NoArchive:
            session = None
        return unfollow(self._config, session, target, dry_run=dry_run, work=Work(wait=wait))

    def reread(
        self,
        *,
        dry_run: bool = False,
        wait: bool = False,
        progress: Progress = lambda done, total: None,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> RereadReport:
        """Read all stored answers again, and add what the database lacks. Makes no call.

        ``dry_run``: do it to a copy of the rows, which is then removed. ``progress`` gets the number of
        answers read, and their total. Raises StoppedBySignal, ArchiveLocked, StorageError, DatabaseError,
        DiskFull.
        """
        from archiver.catalog.temporary_copy import open_copy
        from archiver.reread.reread import COMMAND, reread

        self._require_open()
        work = Work(clock=clock, stop=stop or StopFlag(), wait=wait)
        check = work.stop.check

        def reread_into(catalog: Catalog, session: Session) -> RereadReport:
            return reread(catalog, session.answers, session.root, check=check, progress=progress, clock=clock)

        if dry_run:
            with (
                open_for_dry_run(self._config, work) as reading,
                open_copy(reading.catalog, reading.root, check) as copy,
            ):
                return replace(reread_into(copy, reading), run_id=None)
        with open_for_writing(self._config, COMMAND, work) as session:
            return reread_into(session.catalog, session)

    def adopt(
        self,
        directories: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        tool: ForeignTool | str | None = None,
        account: str | None = None,
        dry_run: bool = False,
        wait: bool = False,
        progress: Callable[[int], None] = lambda files: None,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> AdoptionReport:
        """Take in what other tools have downloaded below these directories. Makes no call, costs nothing.

        Their files are only read. ``tool``: ``insta-dl``, ``gallery-dl`` or ``instaloader``; without it each
        file is recognized by its name. ``account``: the username of the account whose files these are, if
        the folders do not say so. ``dry_run``: store nothing, and record it in a copy of the rows, which is
        then removed. ``progress`` gets the number of files looked at. ``wait``, ``stop`` and ``clock`` as in
        ``run``. The report lists the refused files with the reasons. Raises UsageError, ArchiveLocked,
        StoppedBySignal, StorageError, DiskFull, DatabaseError.
        """
        from archiver.adopt.adoption import COMMAND, Adoption, AdoptionOptions
        from archiver.adopt.foreign_directory import require_foreign
        from archiver.archive import selection
        from archiver.archive.nightly_run import require_space
        from archiver.catalog.temporary_copy import open_copy
        from archiver.model.foreign_files import ForeignTool

        paths = arguments.read_several(
            os.fspath(directories) if isinstance(directories, os.PathLike) else directories,
            lambda one: arguments.require_path("directories", one),
        )
        options = AdoptionOptions(
            tool=None if tool is None else arguments.require_choice("tool", tool, ForeignTool),
            account=None if account is None else selection.read_username(account),
            dry_run=dry_run,
        )
        self._require_open()
        if not paths:
            raise UsageError("no directory is given", "name a folder that the other tool has filled")
        tops = [require_foreign(directory) for directory in paths]
        work = Work(clock=clock, stop=stop or StopFlag(), wait=wait)

        def adopt_into(session: Session, catalog: Catalog) -> AdoptionReport:
            require_blobs(session)
            adoption = Adoption(
                catalog,
                session.store,
                options,
                check=work.stop.check,
                require_space=lambda: require_space(session.config),
                progress=progress,
                clock=clock,
            )
            return adoption.adopt(tops)

        if dry_run:
            reading = self._open()
            with open_copy(reading.catalog, reading.root, work.stop.check) as copy:
                return adopt_into(reading, copy)
        with open_for_writing(self._config, COMMAND, work) as writing:
            return adopt_into(writing, writing.catalog)

    def plan_removal(
        self, account: AccountName, *, reason: str | None = None, stop: StopFlag | None = None
    ) -> AccountRemoval:
        """Return what ``forget`` would remove, and what it would leave. Writes nothing. Raises its errors."""
        from archiver.archive import selection
        from archiver.archive.forgetting import plan_removal

        session = self._open()
        with session.storage.checking((stop or StopFlag()).check):
            return plan_removal(session, selection.read_account(account), reason)

    def forget(
        self,
        account: AccountName,
        *,
        reason: str | None = None,
        wait: bool = False,
        stop: StopFlag | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> AccountRemoval:
        """Delete an account from the archive: rows, files, answers, and every trace. It cannot be undone.

        What other accounts show of it stays. ``reason`` is recorded, with the time and without a name. If it
        is interrupted, the next command that writes finishes it. Raises NotHeld, UsageError if ``reason``
        names the account, ArchiveLocked, StorageError if a store does not allow to delete, DiskFull,
        DatabaseError, StoppedBySignal.
        """
        from archiver.archive import selection
        from archiver.archive.forgetting import forget_account

        self._require_open()
        return forget_account(
            self._config,
            selection.read_account(account),
            Work(clock=clock, stop=stop or StopFlag(), wait=wait),
            reason=None if reason is None else arguments.require_text("reason", reason, "text"),
        )

    def finish_removal(self, *, wait: bool = False, stop: StopFlag | None = None) -> bool:
        """Finish a ``forget`` that was interrupted; return whether there was one. Raises its errors."""
        from archiver.catalog.query import account_parts

        if not self._catalog.read(account_parts.is_unfinished):
            return False
        with open_for_writing(self._config, "forget", Work(stop=stop or StopFlag(), wait=wait)):
            return True

    def waiting_files(self) -> Reading[WaitingFile]:
        """Return the adopted files that wait for their items, by folder, highlight and item."""
        from archiver.catalog.query import adoptions

        return self._read(self._catalog.stream(adoptions.waiting_files))

    # --- verification

    def verify(
        self,
        *,
        read_data: bool = False,
        share: float = 1.0,
        dry_run: bool = False,
        progress: Progress = lambda checked, bytes_read: None,
    ) -> Verification:
        """Compare blobs, stored answers and journal with the rows. Changes no file, and may run during a run.

        ``read_data``: read every blob and compare its SHA-256; if ``share`` is 1, also compare the rows that
        the journal gives. ``share``: read only this part (0 to 1), a different one each day. Verification
        times are recorded if no run holds the lock and the archive is writable; ``dry_run``: record nothing.
        ``progress`` gets the number of blobs checked and of bytes read; it may raise to stop.
        Raises DatabaseError if the database itself is damaged, StorageError if no blob exists at all.
        """
        from archiver.archive.verification import verify_archive

        part = arguments.require_share("share", share)
        return verify_archive(
            self._open(), Work(progress=progress), read_data=read_data, share=part, dry_run=dry_run
        )

    def repair(
        self,
        *,
        read_data: bool = False,
        share: float = 1.0,
        accept_loss: bool = False,
        dry_run: bool = False,
        wait: bool = False,
        progress: Progress = lambda checked, bytes_read: None,
        stop: StopFlag | None = None,
    ) -> RepairReport:
        """Verify under the lock, record losses, and move damaged bytes to ``quarantine/``. Costs nothing.

        The report has what fetching the lost files again, with ``run(report.targets,
        options=report.run_options)``, should cost at most. ``accept_loss``: continue even if no blob exists
        at all. ``dry_run``: record it in a copy of the rows, which is then removed, and move nothing. Raises
        the errors of ``verify``, and ArchiveLocked.
        """
        from archiver.archive.verification import plan_repair, repair_archive

        self._require_open()
        part = arguments.require_share("share", share)
        work = Work(stop=stop or StopFlag(), wait=wait, progress=progress)
        if dry_run:
            return plan_repair(self._open(), work, read_data=read_data, share=part, accept_loss=accept_loss)
        return repair_archive(self._config, work, read_data=read_data, share=part, accept_loss=accept_loss)

    # --- exports

    def export_folder(
        self,
        directory: str | os.PathLike[str],
        *,
        template: str | None = None,
        sidecars: bool = False,
        xmp: bool = False,
        **options: Unpack[MediaOptions],
    ) -> ExportStats:
        """Export pictures and videos under readable names into ``directory``; a later export updates it.

        ``template``: where each goes, as in ``archiver export folder``. ``sidecars``: beside each item,
        write what is known about it, as JSON. ``xmp``: beside each picture and video of an item, write what
        photo programs read, as XMP. Raises UsageError, NotHeld, ArchiveLocked, StorageError, DiskFull.
        """
        from archiver.archive.exports import Export
        from archiver.export.path_template import DEFAULT_TEMPLATE

        export = Export(self._open(), arguments.require_path("directory", directory), **options)
        chosen = DEFAULT_TEMPLATE if template is None else template
        return export.folder(template=chosen, sidecars=sidecars, xmp=xmp)

    def export_site(self, directory: str | os.PathLike[str], **options: Unpack[MediaOptions]) -> ExportStats:
        """Export web pages that need no server. Raises the errors of ``export_folder``."""
        from archiver.archive.exports import Export

        return Export(self._open(), arguments.require_path("directory", directory), **options).site()

    def export_wacz(
        self,
        file: str | os.PathLike[str],
        *,
        with_answers: bool = False,
        force: bool = False,
        gone: bool = True,
        **options: Unpack[TableOptions],
    ) -> ExportStats:
        """Export the site as one WACZ file, for web archives and players.

        ``with_answers``: add the stored answers, which contain signed links. ``force``: replace an existing
        file. ``gone``: include what Instagram no longer shows. Raises the errors of ``export_folder``.
        """
        from archiver.archive.exports import Export

        export = Export(self._open(), arguments.require_path("file", file), gone=gone, **options)
        return export.wacz(with_answers=with_answers, force=force)

    def export_bagit(
        self,
        directory: str | os.PathLike[str],
        *,
        info: Sequence[tuple[str, str]] = (),
        **options: Unpack[MediaOptions],
    ) -> ExportStats:
        """Export a BagIt bag of media, sidecars and tables. ``info``: fields of ``bag-info.txt``."""
        from archiver.archive.exports import Export

        return Export(self._open(), arguments.require_path("directory", directory), **options).bag(info=info)

    def export_tables(
        self,
        directory: str | os.PathLike[str],
        *,
        form: TableForm | str = "jsonl",
        tables: Sequence[str] = (),
        **options: Unpack[TableOptions],
    ) -> ExportStats:
        """Export these tables, or all, each to one ``jsonl`` or ``csv`` file.

        With filters, only tables whose rows belong to accounts, highlights or items. Raises
        the errors of ``export_folder``.
        """
        from archiver.archive.exports import Export
        from archiver.export.table_files import TableForm

        chosen = arguments.require_choice("form", form, TableForm)
        export = Export(self._open(), arguments.require_path("directory", directory), **options)
        return export.tables(chosen, tables)

    def check_export(
        self,
        path: str | os.PathLike[str],
        *,
        form: CheckedForm | str,
        progress: Callable[[ExportStats], None] = lambda stats: None,
    ) -> ExportStats:
        """Check an export of the form ``folder``, ``site``, ``bagit`` or ``wacz``; change nothing.

        In a directory every file is compared with the list of exported files, and that with the rows; in a
        WACZ every record with its digest. Of the result, ``files`` are right, ``failed`` (``failures``) wrong
        or missing, ``bytes`` were read. Raises UsageError, NoArchive if there is no export, ArchiveLocked,
        StorageError.
        """
        from archiver.archive.exports import check_export
        from archiver.export.export_check import CheckedForm
        from archiver.export.wacz_check import check_wacz

        chosen = arguments.require_choice("form", form, CheckedForm)
        place = arguments.require_path("path", path)
        if chosen is CheckedForm.WACZ:
            return check_wacz(place, progress)
        return check_export(self._open(), place, form=chosen, progress=progress)

    def table_lines(
        self, table: str, *, form: TableForm | str = "jsonl", **options: Unpack[TableOptions]
    ) -> Iterator[str]:
        """Return one table as text, in pieces. Raises UsageError, NotHeld."""
        from archiver.archive.exports import Export
        from archiver.export.table_files import TableForm

        chosen = arguments.require_choice("form", form, TableForm)
        return Export(self._open(), self.root, **options).table_lines(chosen, table)

    # --- the database

    def serve(
        self,
        options: ServeOptions,
        *,
        on_ready: Callable[[str], None],
        report: Callable[[Exception], None] = lambda error: None,
        note: Callable[[str], None] = lambda text: None,
        stop: StopFlag | None = None,
    ) -> None:
        """Serve the archive as web pages until ``stop`` is set. Call it in the main thread.

        ``on_ready`` gets the address once connections are accepted, ``report`` the errors of requests, from
        any thread, ``note`` warnings. Raises UsageError if the options would let others look without a token,
        the port cannot be used, or Starlette or uvicorn is missing.
        """
        from archiver.archive.serving import serve

        self._require_open()
        flag = stop or StopFlag()
        with open_for_reading(self._config, self._database, is_lasting=True) as session:
            if session.lacking is not None:
                self._on_behind(session.lacking)
            serve(
                session,
                options,
                on_ready=on_ready,
                report=report,
                note=note,
                is_stopped=lambda: flag.cause is not None,
            )

    def sqlite_file(self) -> Path:
        """Return the SQLite file, for programs that read SQLite. Raises UsageError if it is in PostgreSQL."""
        path = locate_database(self._config).path
        if path is None:
            raise UsageError(
                "the archive is in PostgreSQL", "Datasette reads only SQLite: use psql or archiver query"
            )
        self._open()
        return path

    def backup_database(self, to: str | os.PathLike[str], *, dry_run: bool = False) -> int:
        """Write a consistent copy of the SQLite database, also during a run. Return its size in bytes.

        ``dry_run``: write nothing. Raises UsageError for PostgreSQL, and if the file exists; DatabaseError,
        StorageError, DiskFull.
        """
        return self._catalog.backup(arguments.require_path("to", to), dry_run=dry_run)

    # --- closing

    def close(self) -> None:
        """End every iterator and close the archive. Closing it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        for reading in list(self._readings):
            reading.cut()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<archiver.Archive at {str(self.root)!r}{' (closed)' if self._is_closed else ''}>"

    def _open(self) -> Session:
        """Return the open parts of the archive. Raises the errors of ``open_archive``."""
        self._require_open()
        if self._opened is None:
            self._opened = self._stack.enter_context(open_for_reading(self._config, self._database))
            if self._opened.lacking is not None:
                self._on_behind(self._opened.lacking)
        else:
            self._opened.compare_if_changed()
        return self._opened

    def _open_if_current(self) -> Session | None:
        """Return the open archive; None if there is none yet, or a run must bring its schema up to date."""
        try:
            return self._open()
        except (NoArchive, SchemaOld):
            return None

    @property
    def _catalog(self) -> Catalog:
        return self._open().catalog

    def _require_open(self) -> None:
        if self._is_closed:
            raise ValueError("the archive is closed")

    def _read(self, values: Generator[T, None, None]) -> Reading[T]:
        reading = Reading(values)
        self._readings.add(reading)
        return reading

    def _select(self, **narrowing: Unpack[Narrowing]) -> Selection:
        from archiver.archive import selection

        return selection.read_selection(self._catalog, **narrowing)

    def _run_targets(
        self, targets: Targets | None, options: RunOptions | None
    ) -> tuple[Sequence[Target], RunOptions]:
        """Return the targets of a run (configured entries, or those that a person names) and its options."""
        from archiver.archive import selection
        from archiver.runner.context import RunOptions as NewRunOptions

        self._require_open()
        if targets is not None:
            found = selection.read_targets(targets)
            return found, options or NewRunOptions(from_config=False, ignore_backoff=True)
        if not self._config.accounts:
            raise UsageError(
                "no accounts are configured", "name targets, or open the archive with its configuration"
            )
        return self._config.accounts, options or NewRunOptions()


def _require_file(file: object) -> KeptFile | WaitingFile:
    from archiver.model.archived import KeptFile
    from archiver.model.foreign_files import WaitingFile

    if isinstance(file, WaitingFile):
        return file
    return arguments.require_instance("file", file, KeptFile)

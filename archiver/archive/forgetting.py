"""``forget``: what an account is, what its removal would take, and the removal itself.

It is made in steps of which each can follow a kill at any point:

0. The account is taken off the list of the configuration. Only ``forget`` itself does that: what finishes a
   removal has its request from the archive, which may be somebody else's.
1. The request and the names of new answer segments are recorded, in the journal too. Lines of the log are
   removed, and the segments are written without the account's answers.
2. One transaction removes the rows, and records which files are to be deleted. It is not journaled.
3. A snapshot of what stays begins the journal again. The marker counts the removal, so that an older copy of
   the database is refused. The files are deleted.
4. Another snapshot follows, without the names of those files, which are hashes. The journal before it is
   deleted, and the database is written again, without free space.

Until step 2 the request is there, and the next command that writes begins again with it; afterwards it goes
on with the list of files. So does ``db rebuild`` if the database is lost meanwhile: until the first snapshot
the journal has the request and all rows, afterwards the list of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from datetime import datetime

from archiver.answers.answer_store import SEGMENT, AnswerStore, rename_segment
from archiver.archive import account_traces, selection
from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import locate_database
from archiver.archive.followed_accounts import read_owners
from archiver.archive.session import (
    Session,
    WritableSession,
    open_for_writing,
    require_answers,
    require_blobs,
)
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_parts, content, holdings
from archiver.config import Config, account_list
from archiver.durable import is_data_loss
from archiver.errors import AnswerMalformed, StorageError, UsageError
from archiver.model.account_removal import AccountParts, AccountRemoval, PlacedAnswer, RemovalRequest
from archiver.model.archived import Selection
from archiver.model.identity import Pk, utcnow
from archiver.model.target import Target
from archiver.model.upstream import HighlightPage, Tray, User
from archiver.model.values import replace
from archiver.reread import read_content, recover
from archiver.text_format import make_safe
from archiver.work import StopFlag, Work

_FIRST, _SECOND = "journal/first snapshot", "journal/second snapshot"
"""In the list of files to delete: which snapshots are still to be written."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]+")


def forget_account(config: Config, account: Target, work: Work, *, reason: str | None) -> AccountRemoval:
    """Remove an account from the archive; see ``Archive.forget``."""
    with open_for_writing(config, "forget", work) as session:
        steps = RemovalSteps(session, work.stop)
        request = find_request(session.catalog, account, reason, work.clock())
        require_blobs(session)
        require_answers(session)
        steps.prepare()
        parts = read_parts(session, request)
        comments = _find_comments(config, session.catalog, parts, dry_run=False)
        entries = _take_off_list(config, session.catalog, parts)
        return replace(steps.forget(request), entries=entries, comments=comments)


def plan_removal(session: Session, account: Target, reason: str | None = None) -> AccountRemoval:
    """Return what ``forget_account`` would remove. Writes nothing.

    Raises JournalDiffers for an older copy of the database: it may not know the account.
    """
    session.require_current()
    request = find_request(session.catalog, account, reason, utcnow())
    parts = read_parts(session, request)
    database = locate_database(session.config).path
    return replace(
        describe_removal(session, parts),
        log_lines=account_traces.count_log_lines(session.root, account_traces.words_of(parts)),
        quarantined=len(find_quarantine_copies(session.storage, parts, segments_of(parts))),
        copies=account_traces.find_copies(session.root, database),
        entries=_take_off_list(session.config, session.catalog, parts, dry_run=True),
        comments=_find_comments(session.config, session.catalog, parts, dry_run=True),
    )


def find_request(catalog: Catalog, account: Target, reason: str | None, now: datetime) -> RemovalRequest:
    """Return the request to remove an account.

    Raises NotHeld if the archive has nothing of it, UsageError if several accounts have had the name, or if
    ``reason`` names the account.
    """
    pk = selection.require_one(account, selection.find_pks(catalog, account))
    # If there are rows, they have the names: the request, which is journaled, needs none.
    names = frozenset([account.username.lower()]) if account.username and pk is None else frozenset[str]()
    request = RemovalRequest(now, pk or account.user_pk, names, reason)
    parts = catalog.read(account_parts.read_parts, request)
    if parts.is_empty and pk is None:
        raise selection.not_archived(catalog, account)
    if reason is not None:
        if make_safe(reason) != reason:
            raise UsageError("the reason must be one line of text, without control characters")
        _require_nameless(reason, parts, _full_names(catalog, request.user_pk))
    return request


def _take_off_list(
    config: Config, catalog: Catalog, parts: AccountParts, *, dry_run: bool = False
) -> tuple[str, ...]:
    """Remove the entries of the configuration that mean the account; return them.

    Raises ConfigError if they cannot be found as lines, StorageError if a file cannot be written.
    """
    if not config.has_own_list:
        return ()
    is_own = _entry_matcher(config, catalog, parts)
    entries = account_list.remove_from_list(config, is_own, dry_run=True)
    if entries and not dry_run:
        account_list.remove_from_list(config, is_own)
    return tuple(entry.target.text for entry in entries)


def _find_comments(
    config: Config, catalog: Catalog, parts: AccountParts, *, dry_run: bool
) -> tuple[str, ...]:
    """Return where comments of the account list name the account, or anything of it. Raises ConfigError."""
    if not config.has_own_list:
        return ()
    words, full_names = account_traces.words_of(parts), _full_names(catalog, parts.user_pk)

    def mentions(comment: str) -> bool:
        is_named = any(name.lower() in comment.lower() for name in full_names)
        return is_named or account_traces.has_word(comment.encode(errors="replace"), words)

    return account_list.find_comments(
        config, _entry_matcher(config, catalog, parts), mentions, dry_run=dry_run
    )


def _full_names(catalog: Catalog, pk: Pk | None) -> frozenset[str]:
    return frozenset() if pk is None else catalog.read(account_parts.read_full_names, pk)


def _entry_matcher(config: Config, catalog: Catalog, parts: AccountParts) -> Callable[[Target], bool]:
    """Return what says whether an entry of the configuration means the account.

    A name means the account to which it is bound, else the one that has it, else any that had it.
    """
    owners = read_owners(catalog, config.accounts)

    def is_own(entry: Target) -> bool:
        if entry.highlight_pk is not None:
            return entry.highlight_pk in parts.highlight_pks
        owner = owners.get(entry.identity)
        if owner is not None:
            return owner == parts.user_pk
        return entry.username is not None and entry.username.lower() in parts.names - parts.shared_names

    return is_own


def _require_nameless(reason: str, parts: AccountParts, full_names: frozenset[str]) -> None:
    """Raise UsageError if a text names the account, or anything in it by its pk, code or hash."""
    pks = {*parts.highlight_pks, *parts.item_pks, *([parts.user_pk] if parts.user_pk is not None else [])}
    is_named = any(name.lower() in reason.lower() for name in parts.names | full_names)
    is_named = is_named or account_traces.has_word(
        reason.encode(errors="replace"), account_traces.words_of(parts)
    )
    if is_named or not pks.isdisjoint(_NUMBER.findall(reason)):
        raise UsageError("the reason names what is to be forgotten", "write one without names and numbers")


def require_own_removal(session: Session) -> None:
    """Raise ArchiveDamaged if a removal has not ended that ``forget`` did not begin.

    Its request is none of ours, or a file is to be deleted that is none of the archive's.
    """
    session.catalog.read(account_parts.read_request)
    names = set(session.catalog.read(account_parts.read_deletions)) - {_FIRST, _SECOND}
    if names:
        path = locate_database(session.config).path
        in_use = path if path is not None and path.exists() else None  # it may be lost, and to be rebuilt
        copies = account_traces.find_copies(session.root, in_use)
        session.storage.require_names(sorted(names), copies)


class RemovalSteps:
    """The steps of a removal, in an archive that is open for writing."""

    def __init__(self, session: WritableSession, stop: StopFlag) -> None:
        self._session, self._check = session, stop.check
        self._catalog, self._storage, self._answers = session.catalog, session.storage, session.answers

    def prepare(self) -> None:
        """Make sure that files can be deleted, and that every stored answer has a row."""
        self._storage.require_deletion()
        self._storage.empty_spool()
        self._storage.remove_spools(frozenset)
        recover(self._catalog, self._answers, self._check)

    def finish(self) -> None:
        """Finish a removal that was begun and has not ended: go on where a killed process stopped.

        Raises StorageError, also if the access keys of a bucket lack the right to delete; DiskFull,
        DatabaseError.
        """
        self._storage.require_deletion()
        request = self._catalog.read(account_parts.read_request)
        if request is None:
            self._delete_all()
            return
        names = self._catalog.read(account_parts.read_deletions)
        self._storage.delete(names, self._check)  # new segments, which no row names yet
        self._catalog.write(record.record_deleted_files, names)
        self.prepare()
        self.forget(request)

    def forget(self, request: RemovalRequest) -> AccountRemoval:
        """Remove the account, and return what was removed."""
        catalog, root = self._catalog, self._session.root
        parts = read_parts(self._session, request)
        removed = describe_removal(self._session, parts)
        old = sorted({*segments_of(parts), *self._find_fragments(parts)})
        new = {segment: rename_segment(segment) for segment in old}
        catalog.write(record.record_removal_request, request, [f"answers/{name}" for name in new.values()])
        self._session.journal.ship()
        lines = account_traces.remove_log_lines(root, account_traces.words_of(parts))
        rewriting = self._rewrite(parts, new)
        quarantined = find_quarantine_copies(self._storage, parts, old)
        copies = account_traces.find_copies(root, locate_database(self._session.config).path)
        deletions = [
            *(f"blobs/{digest[:2]}/{digest}" for digest, _ in parts.blobs),
            *(f"answers/{segment}" for segment in old),
            *quarantined,
            *(_FIRST, _SECOND),
        ]
        self._check()
        catalog.write(record.remove_account, request, parts, rewriting, deletions)
        self._delete_all()
        return replace(
            removed,
            log_lines=lines,
            quarantined=len(quarantined),
            copies=copies,
            lost=len(rewriting.lost),
        )

    def _find_fragments(self, parts: AccountParts) -> list[str]:
        """Return the segments with parts of answers about the account, as a power loss leaves them."""
        found: list[str] = []
        if self._storage.is_remote:  # objects are put whole
            return found
        words = account_traces.words_of(parts)
        for segment in self._answers.segments():
            self._check()
            lengths = self._catalog.read(holdings.lengths_by_offset, segment)
            try:
                texts = self._answers.fragments(segment, lengths)
                if any(account_traces.has_word(text, words) for text in texts):
                    found.append(segment)
            except AnswerMalformed:
                continue
            except StorageError as error:
                if not is_data_loss(error):
                    raise
        return found

    def _rewrite(self, parts: AccountParts, new: dict[str, str]) -> record.Rewriting:
        """Write segments again without the account's answers, unless nothing else is in them."""
        dropped: dict[str, set[int]] = {segment: set() for segment in new}
        for answer in parts.answers:
            if answer.location.segment in dropped:
                dropped[answer.location.segment].add(answer.location.offset)
        moved: dict[int, tuple[str, int]] = {}
        lost: list[int] = []
        for segment, offsets in dropped.items():
            self._check()
            others = [
                answer
                for answer in self._catalog.read(holdings.answers_of_segment, segment)
                if answer.location.offset not in offsets
            ]
            places: dict[int, int] = {}
            if others and self._answers.size(segment) is not None:
                places = self._answers.copy_without(segment, offsets, new[segment])
            for other in others:
                if other.location.offset in places:
                    moved[other.id] = new[segment], places[other.location.offset]
                else:
                    lost.append(other.id)
        return record.Rewriting(moved, lost)

    def _delete_all(self) -> None:
        """Delete the files that the rows of the account had, and every trace of their names."""
        names = self._catalog.read(account_parts.read_deletions)
        files = [name for name in names if name not in (_FIRST, _SECOND)]
        if _FIRST in names:
            self._session.journal.write_snapshot()
            self._catalog.write(record.record_deleted_files, [_FIRST])
        self._storage.mark_removals(self._catalog.read(account_parts.count_removals))
        # Found again: an upgrade may have made one since. Backwards: a copy's WAL is known by the copy.
        database = locate_database(self._session.config).path
        copies = account_traces.find_copies(self._session.root, database)[::-1]
        self._storage.delete([*files, *copies], self._check, copies)
        self._catalog.write(record.record_deleted_files, files)
        if _SECOND in names:
            account_traces.empty_temporary_place(self._session.root)
            head = self._session.journal.write_snapshot()
            old = [f"journal/{name}" for name in self._storage.journal().names() if name != head.file]
            aside = _find_aside(self._storage, ("journal-",))  # also what was damaged in the middle
            self._storage.delete([*old, *aside], self._check)
            self._catalog.scrub()
            self._catalog.write(record.record_deleted_files, [_SECOND])


def read_parts(session: Session, request: RemovalRequest) -> AccountParts:
    """Return what belongs to the account; of doubtful answers their content decides."""
    parts = session.catalog.read(account_parts.read_parts, request)
    own = [answer for answer in parts.doubtful if _is_about(parts, session.answers, answer)]
    return replace(parts, answers=(*parts.answers, *own), doubtful=())


def _is_about(parts: AccountParts, answers: AnswerStore, placed: PlacedAnswer) -> bool:
    """Return whether an answer is about the account: by the owner it states, else if it has the pk at all."""
    if parts.user_pk is None:
        return False
    try:
        answer = answers.read(placed.location)
    except AnswerMalformed:
        return False
    except StorageError as error:
        if not is_data_loss(error):
            raise
        return False
    owner: User | None = None
    with suppress(AnswerMalformed):
        match read_content(answer):
            case User() as user:
                owner = user
            case Tray(user=user):
                owner = user
            case HighlightPage(highlight=highlight):
                owner = highlight.user
    return parts.user_pk.encode() in answer.body if owner is None else owner.pk == parts.user_pk


def segments_of(parts: AccountParts) -> set[str]:
    """Return the segments of the account's answers. A row that names anything else has no file to delete."""
    segments = (answer.location.segment for answer in parts.answers)
    return {segment for segment in segments if SEGMENT.fullmatch(segment)}


def find_quarantine_copies(
    storage: ArchiveStorage, parts: AccountParts, segments: Iterable[str]
) -> list[str]:
    """Return the files in ``quarantine/`` that may hold something of the account.

    These are copies of its blobs, bytes that were between the answers of its segments, and whole journals.
    """
    beginnings = (segment.replace("/", "-") + "-" for segment in segments)
    return _find_aside(storage, ("journal-", *beginnings), {digest for digest, _ in parts.blobs})


def _find_aside(
    storage: ArchiveStorage, beginnings: tuple[str, ...], digests: Container[str] = ()
) -> list[str]:
    """Return the files in ``quarantine/`` whose names begin so, or with one of these digests."""
    found = []
    for name in storage.list_quarantine():
        rest = name.rpartition("quarantine/")[2]
        digest = _DIGEST.match(rest)
        if rest.startswith(beginnings) or (digest is not None and digest[0] in digests):
            found.append(name)
    return found


def describe_removal(session: Session, parts: AccountParts) -> AccountRemoval:
    """Return what the removal of an account takes from rows and stored files, and what it leaves."""
    username, catalog = None, session.catalog
    if parts.user_pk is not None:
        for account in catalog.stream(content.accounts, Selection(user_pks=(parts.user_pk,))):
            username = account.username
    return AccountRemoval(
        user_pk=parts.user_pk,
        username=username,
        highlights=len(parts.highlight_pks),
        items=len(parts.item_pks),
        files=parts.files,
        blobs=len(parts.blobs),
        bytes=sum(size for _, size in parts.blobs),
        waiting=len(parts.waiting),
        answers=len(parts.answers),
        calls=len({*parts.calls, *(answer.call_id for answer in parts.answers)}),
        changes=parts.changes,
        failures=len(parts.failures),
        log_lines=0,
        quarantined=0,
        copies=(),
        left=catalog.read(account_parts.count_left, parts),
        unknown=_find_unknown(session),
    )


def _find_unknown(session: Session) -> tuple[str, ...]:
    """Return what is in the archive's directory, or below ``answers/``, and is not part of the archive.

    If the archive is in a bucket, that is also what it left here when it moved.
    """
    is_here, database = not session.storage.is_remote, locate_database(session.config).path
    unknown = account_traces.find_unknown(session.root, database, has_files=is_here)
    foreign = [f"answers/{name}" for name in session.answers.foreign_names()] if is_here else []
    return (*unknown, *foreign)

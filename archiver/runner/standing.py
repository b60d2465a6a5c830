"""Whether an account can be seen: private, gone, empty or public; asked as seldom as the facts allow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from archiver import retry
from archiver.catalog import Catalog, record
from archiver.catalog.query import account_state
from archiver.errors import AnswerMalformed, CallFailed, Reason
from archiver.model.archived import HeldUser
from archiver.model.billing import Meaning
from archiver.model.identity import Pk, Subject
from archiver.model.target import Target
from archiver.model.upstream import Tray, User
from archiver.runner.context import RunContext
from archiver.runner.metered_api import MeteredApi, Reply

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the account itself said: ``verdict`` private or gone, None where it is public; ``user`` if it was shown."""

    verdict: Reason | None
    user: User | None


@dataclass(slots=True)
class Account:
    """One visit to a target: what was stored of it before, its pk and its row, and what this visit has seen
    of it.

    ``pk`` is None for a name of which no account is known; ``held`` for an account that was never resolved:
    nothing of it is in the archive. ``seen`` is the one look at the account itself that a visit pays for.
    """

    target: Target
    pk: Pk | None
    held: HeldUser | None
    seen: Seen | None = None


class Standing:
    """Asks for the account itself, and knows when not to."""

    def __init__(
        self, paid: MeteredApi, catalog: Catalog, *, context: RunContext, insist: bool, lists: bool
    ) -> None:
        """``insist``: no back-off holds; ``lists``: it is the trays that are asked for, so that no look takes the place of one."""
        self._paid = paid
        self._catalog = catalog
        self._context = context
        self._insist = insist
        self._wants_tray = insist or lists

    def resolve(self, target: Target, *, bound: bool) -> Account:
        """The account of a username or user id, by what is stored alone: a name is a dated fact, the pk is the identity.

        ``bound``: an entry of the configuration stays bound to the pk that it first meant, whatever that account is called now.
        Without it a name counts only if it is the *current* name of a stored account.
        """
        pk = target.user_pk
        if pk is None and target.username is not None:
            if bound:
                pk = self._catalog.read(account_state.bound, target.username)
            if pk is None:
                pk = self._catalog.read(account_state.user_pk_by_name, target.username)
        held = self._catalog.read(account_state.user, pk) if pk is not None else None
        return Account(target, pk, held)

    def waits(self, subject: Subject, pk: str) -> bool:
        """Whether a name that nobody answered to, or a highlight that was not there, is to be left alone tonight."""
        return not self._insist and waits(self._catalog, subject, pk, self._context.clock())

    def failed_before(self, account: Account) -> Reason | None:
        """Return why a target that was never resolved failed last time; None if it did not."""
        failure = self._catalog.read(account_state.open_failure, Subject.TARGET, account.target.key, None)
        return failure.reason if failure is not None else None

    def look(self, account: Account, owner: Pk | None = None) -> Seen:
        """Ask for the account itself (1 unit), once in a visit: a second look returns what the first one saw.

        ``owner``: whose tray it was that came for a name. Raises as ``hidden`` where the API says neither yes
        nor no, and AnswerMalformed for an account of another name or pk.
        """
        if account.seen is None:
            account.seen = self._look(account.pk, account.target.username, owner)
        return account.seen

    def _look(self, pk: Pk | None, username: str | None, owner: Pk | None) -> Seen:
        if pk is not None:
            reply = self._paid.fetch_user(pk)
        else:
            assert username is not None
            reply = self._paid.fetch_user_by_username(username, owner)
        verdict = hidden(reply)
        if verdict is not None:
            return Seen(verdict, None)
        user = reply.content()
        self._catalog.write(record.user, self._context.run_id, user, self._context.clock())
        return Seen(Reason.PRIVATE if user.is_private else None, user)

    def stands(self, account: Account) -> Reason | None:
        """The verdict on a stored account that showed nothing, asked again only when due; None: its tray is to be listed.

        Private and gone cost nothing until they are due, then one unit. An empty account is listed every night, since a highlight may
        come any day; on a night when its verdict is due the look takes the tray's place, so that it never costs two units. The tray
        has its turn between two looks, however seldom the runs are.
        """
        held = account.held
        if held is None or held.verdict is None:
            return None
        due = (
            self._insist
            or held.verdict_due_at is None
            or retry.is_due(held.verdict_due_at, self._context.clock())
        )
        if held.verdict is Reason.EMPTY and (self._wants_tray or not due or not tray_may_wait(held)):
            return None
        if not due:
            return held.verdict
        verdict = self.look(account).verdict
        if verdict is None and held.verdict is Reason.EMPTY:
            verdict = Reason.EMPTY
        self.record(held.pk, verdict)
        return verdict

    def behind(self, account: Account, verdict: Reason) -> Reason:
        """Return what a tray that is not shown says of the account.

        What a private account's tray answers is not documented. One that is not found and was there before is
        confirmed by a look at the account (1 unit), unless this visit has had its look. Raises CallFailed if
        the account exists and is public.
        """
        if verdict is not Reason.GONE or (account.held is None and account.seen is None):
            return verdict
        seen = self.look(account)
        if seen.verdict is None:
            raise CallFailed("its tray is not found, and the account is there and public", sent=True)
        return seen.verdict

    def of_tray(self, account: Account, tray: Tray, *, cut: bool = False) -> tuple[Pk | None, Reason | None]:
        """Whose tray this is, and the verdict on it, now committed. It is checked by a look at the account (1
        unit) where it is empty, contradicts what is held, or was asked for by name and states none.

        ``cut``: this one is known to show less than the last. The pk is None only with the verdict that there
        is no such account, or that it is private. Raises AnswerMalformed where the look shows another account
        than the tray.
        """
        held, owner, verdict = account.held, tray.user, None
        pk = account.pk or (owner.pk if owner is not None else None)
        if tray.length == 0:
            if held is not None and held.verdict is Reason.EMPTY:
                return pk, Reason.EMPTY  # as before, and not looked at: it stays due when it was
            seen = self.look(account)
            pk = pk or (seen.user.pk if seen.user is not None else None)
            verdict = seen.verdict or Reason.EMPTY
        elif account.pk is None and owner is not None and owner.username is None:
            seen = self.look(account, owner.pk)
            pk, verdict = (seen.user.pk if seen.user is not None else None), seen.verdict
        elif (
            held is not None
            and not cut
            and held.shrunk_to is None
            and tray.length * 2 < (held.tray_length or 0)
        ):
            verdict = self.look(account).verdict
        never_was = held is None and verdict is Reason.GONE  # an id that does not exist gets no row
        if pk is not None and not never_was:
            self.record(pk, verdict)
        return pk, verdict

    def record(self, pk: Pk, verdict: Reason | None) -> None:
        """Commit the verdict, with the day on which it is asked again."""
        self._catalog.write(record.verdict, self._context.run_id, pk, verdict, self._context.clock())


def tray_may_wait(held: HeldUser) -> bool:
    """Whether the tray of an empty account may be left for a night: it was listed since the last look, and lost nothing that waits for a
    second tray that says the same."""
    listed = held.verdict_at is None or held.listed_at is None or held.listed_at > held.verdict_at
    return listed and held.shrunk_to is None


def waits(catalog: Catalog, subject: Subject, pk: str, now: datetime) -> bool:
    """Whether what was looked for in vain is not due again yet; an error of the API makes nothing wait."""
    failure = catalog.read(account_state.open_failure, subject, pk, None)
    if failure is None or failure.reason not in (Reason.GONE, Reason.PRIVATE, Reason.NOT_FOUND):
        return False
    return failure.next_try_at is not None and not retry.is_due(failure.next_try_at, now)


def hidden(reply: Reply[T]) -> Reason | None:
    """What a reply about an account says of it: private, gone, or None where it is shown.

    Raises AnswerMalformed for an answer that cannot be read, CallFailed for one that is an error of the API's own.
    """
    meaning = reply.verdict.meaning
    if meaning is Meaning.PRIVATE:
        return Reason.PRIVATE
    if meaning is Meaning.NOT_FOUND:
        return Reason.GONE
    detail = reply.verdict.detail or f"the API answers {meaning.value}"
    if meaning is Meaning.MALFORMED:
        raise AnswerMalformed(detail)
    if meaning is not Meaning.OK:
        raise CallFailed(detail, sent=True, permanent=True, status=reply.status)
    return None

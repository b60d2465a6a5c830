"""What is recorded, in words: a change of a field, a gap and its next try, a match of a search. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from archiver.errors import Reason
from archiver.model.archived import Gap, GapReason
from archiver.model.identity import Subject
from archiver.model.query_results import Field, Said
from archiver.model.run_status import MissingTarget
from archiver.text_format import pluralize

NO_GAPS = "no gaps: everything that was offered is archived"
PRESENCE = {"appeared": "new", "gone": "gone", "returned": "back"}
"""The values of the field ``presence``."""

_FLAGS = {  # field → words for true and for false
    (Subject.USER, "is_private"): ("went private", "public again"),
    (Subject.USER, "is_verified"): ("verified", "no longer verified"),
    (Subject.HIGHLIGHT, "is_pinned"): ("pinned", "unpinned"),
}
_EVENTS = {  # field whose values mean nothing to a person → words
    (Subject.USER, "avatar_name"): "new avatar",
    (Subject.HIGHLIGHT, "cover_name"): "new cover",
    (Subject.HIGHLIGHT, "position"): "moved in the tray",
    (Subject.HIGHLIGHT, "item_order"): "items reordered",
}
_NAMES = {(Subject.USER, "username"), (Subject.HIGHLIGHT, "title")}
_SIGN = {
    Field.HASHTAG: "#",
    Field.MENTION: "@",
    Field.SPONSOR: "@",
    Field.USERNAME: "@",
    Field.FORMER_USERNAME: "@",
}
_MOST_MISSING = 3  # targets named in one line
_NEXT_RUN = (Reason.LOST, GapReason.NOT_YET)


def describe_change(
    subject: Subject,
    field: str,
    old: str | None,
    new: str | None,
    name: str | None,
    shorten: Callable[[str], str],
) -> str:
    """Describe one field from its first value to its last; if they are equal, it was changed and back.

    ``name``: the current name of the subject, which is not repeated. ``shorten`` is called for each value.
    """

    def value_text(text: str | None) -> str:
        return shorten(text) if text else "nothing"

    key, back = (subject, field), " and back" if old == new else ""
    if key in _FLAGS:
        was_set = old == "false" if back else new == "true"
        return _FLAGS[key][0 if was_set else 1] + back
    if key in _EVENTS:
        return _EVENTS[key] + back
    if key in _NAMES:
        if back:
            return "renamed and back"
        return f"renamed from {value_text(old)}" + ("" if new == name else f" to {value_text(new)}")
    if key == (Subject.HIGHLIGHT, "user_pk"):
        return f"was the highlight of account {value_text(old)}{back}"
    what = field.replace("_", " ") if subject is Subject.USER else field
    return f"{what}: changed and back" if back else f"{what}: {value_text(old)} -> {value_text(new)}"


def describe_match(said: Said) -> str:
    """Return a text that a search has found, after the word for where it comes from."""
    return f"{said.field.value.replace('_', ' ')}: {_SIGN.get(said.field, '')}{said.text}"


def describe_gap(gap: Gap) -> str:
    """Return what is missing: a file of an item, a highlight, or an account."""
    if gap.subject is Subject.ITEM:
        what = gap.code or gap.subject_pk
        return f"{gap.role.value} of {what}" if gap.role is not None else what
    if gap.role is not None:
        return gap.role.value
    return "account" if gap.subject in (Subject.USER, Subject.TARGET) else "highlight"


def since_when(gap: Gap) -> str:
    """Return since when a target is known not to exist, for the end of a sentence; '' for other gaps."""
    is_target = gap.user_pk is None and gap.subject in (Subject.TARGET, Subject.HIGHLIGHT)
    return f" (since {gap.first_at:%Y-%m-%d})" if is_target and gap.first_at is not None else ""


def missing_targets(missing: Sequence[MissingTarget]) -> Iterator[str]:
    """Yield one line that names targets that do not exist, unless there are none. Not yet safe."""
    if not missing:
        return
    named = [f"{one.target} (since {one.since:%Y-%m-%d})" for one in missing[:_MOST_MISSING]]
    if len(missing) > _MOST_MISSING:
        named.append(f"{len(missing) - _MOST_MISSING:,} more")
    verb, them = ("does", "it") if len(missing) == 1 else ("do", "them")
    yield f"{', '.join(named)} {verb} not exist: correct or remove {them}"


def reason_word(subject: Subject, reason: str) -> str:
    """Return a reason as people are told: a target that is "gone" has never existed."""
    return "unknown" if subject is Subject.TARGET and reason == Reason.GONE else str(reason)


def describe_reason(subject: Subject, reason: str) -> str:
    """Return a reason as a page states it, in words."""
    if reason == GapReason.NOT_YET:
        return "no run has reached it yet"
    return reason_word(subject, reason).replace("_", " ")


def next_try(gap: Gap, now: datetime) -> str:
    """Return when a gap is tried again, in words or as a day and time in UTC."""
    if gap.gone:
        return "never: no longer shown"
    if gap.reason is Reason.HOST_NOT_ALLOWED:
        return "when its host is allowed"
    if gap.reason is Reason.TOO_LARGE:
        return "when max_file_size allows it"
    if gap.next_try_at is None:
        return "next run" if gap.reason in _NEXT_RUN else "next periodic re-fetch"
    return f"{gap.next_try_at:%Y-%m-%d %H:%M}" if gap.next_try_at > now else "next run"


def describe_mismatch(units: int, difference: int) -> str:
    """Return a line: the API's balance fell by ``difference`` more than ``units``. Both may be right."""
    apart = f"{abs(difference):,} {'more' if difference > 0 else 'less'} than counted here"
    return (
        f"the balance at the API fell by {units + difference:,}, {apart}"
        " (another program with the same key, or a top-up?)"
    )


def describe_misplaced_files(names: Sequence[str]) -> Iterator[str]:
    """Yield a line about files of the journal in the folder of a wrong month, if there are any."""
    if names:
        listed = ", ".join(f"journal/{name}" for name in names[:5]) + (", …" if len(names) > 5 else "")
        number = pluralize(len(names), "file")
        yield f"{number} of the journal in the folder of a wrong month, put there by somebody: {listed}"

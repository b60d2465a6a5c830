"""The keys of ``--json`` and their order: programs and people read them, so that they stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.command_line import InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

HEAD = ["exit_code", "outcome"]
COUNTS = (
    "units api_calls accounts highlights_listed highlights_fetched items_new files_new bytes_new files_failed"
    " balance_mismatch hosts_not_allowed missing_targets failures notes changes_total changes"
)
EXPORT = (
    "form directory file files new replaced moved removed others avoided failed bytes reflinked hardlinked"
    " copied written troubles empty dry_run check"
)
VERIFY = (
    "checked bytes_read damaged lost found orphans foreign answers_checked answers_damaged answers_lost"
    " answers_unrecorded answers_surplus answers_foreign journal_lines journal_damage journal_differences"
    " journal_rows derived_differences journal_losses journal_foreign repair run"
)
PLAN = "run_id failures spent units price budget accounts"
COSTS = "by since price_per_1000 units calls unknown_calls unknown_units price costs runs"
REREAD = (
    "dry_run run_id answers_read answers_unreadable answers_unclear answers_lost answers_recorded"
    " units_recorded added filled"
)
STATUS = (
    "accounts highlights items files blobs bytes lost open_failures units units_this_month last_runs"
    " last_success_at hosts_not_allowed missing_targets waiting shared_run workers running killed balance"
)
ACCOUNT = (
    "kind pk username full_name is_private is_verified first_seen_at last_seen_at gone_at listed_at verdict"
    " verdict_at verdict_due_at items_total items_gone blobs bytes lost gaps usernames renamings avatars"
    " highlights"
)
RUN, NO_RUN = f"run_id command {COUNTS}", f"run_id {COUNTS}"
NO_PLAN = "run_id spent units price budget accounts failures"

KEYS = {
    "accounts": ("accounts", "accounts"),
    "add other --dry-run": ("added listed", "added listed"),
    "adopt . --dry-run": ("adopted waiting known metadata refused",) * 2,
    "backup account0000": (RUN, NO_RUN),
    "changes": ("changes", "changes"),
    "costs": (COSTS, COSTS),
    "export csv tables": (EXPORT, EXPORT),
    "export folder out": (EXPORT, EXPORT),
    "export folder out --check": (EXPORT, EXPORT),
    "export wacz out.wacz --dry-run": (EXPORT, EXPORT),
    "forget account0000 --dry-run": ("removed dry_run", "removed dry_run"),
    "gaps": ("gaps", "gaps"),
    "plan": (PLAN, NO_PLAN),
    "plan --list": (PLAN, NO_PLAN),
    "remove account0000 --dry-run": ("removed names pk", "removed names pk"),
    "reread --dry-run": (REREAD, REREAD),
    "run": (RUN, NO_RUN),
    "run --dry-run": (PLAN, NO_RUN),
    "search account": ("stale hits", "stale hits"),
    "show --adopted": ("kind waiting", "kind"),
    "show account0000": (ACCOUNT, "kind"),
    "status --balance": (STATUS, ""),
    "verify": (VERIFY, VERIFY),
    "verify --repair": (VERIFY, VERIFY),
    "verify --repair --dry-run": (VERIFY, VERIFY),
}
"""For each command line: the keys of its object, and of one of a failure before anything began."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessUser]:
    """Somebody whose archive holds the whole account that the configuration names, and an export of it."""
    with FaultyStandIn(EditableWorld.generate(1, 2, 1)) as upstream:
        person = InProcessUser(tmp_path_factory.mktemp("keys"), upstream)
        person.list_accounts("account0000")
        assert person.run("init").code == 0
        assert person.run("run").code == 0
        assert person.run("export", "folder", "out").code == 0
        yield person


@pytest.mark.parametrize("words", KEYS)
def test_the_keys_of_an_object_stay_in_their_order(kept: InProcessUser, words: str) -> None:
    """Of a command that succeeds, then of one whose configuration is missing."""
    done = kept.run(*words.split(), "--json")
    keys, keys_of_failure = (text.split() for text in KEYS[words])
    assert (done.code in (0, 3), list(done.object)) == (True, [*HEAD, *keys])
    failed = kept.run(*words.split(), "--json", "--config", "missing.toml")
    assert (failed.code, list(failed.object)) == (2, [*keys_of_failure, *HEAD, "error"])


def test_the_keys_of_a_repair_stay_in_their_order(kept: InProcessUser) -> None:
    """They are in the object of ``verify``."""
    found = kept.run("verify", "--repair", "--json").object["repair"]
    assert isinstance(found, dict)
    assert list(found) == [
        "lost",
        "back",
        "quarantined",
        "has_new_journal",
        "accounts",
        "highlights",
        "units",
    ]

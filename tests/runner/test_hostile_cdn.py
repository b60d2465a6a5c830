"""A hostile night, the night after it, and a quiet one: nothing good is lost, nothing bad is kept, nothing is
fetched twice.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.cdn_account import CdnAccount, check_store, cut_body, redirect_to_itself, short_waits
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn

HOSTILE: dict[str, Action] = {
    "truncates": actions.truncated(2000),
    "video truncates": actions.truncated(2000),
    "cuts its chunks": actions.chunked(1000, cut=2),
    "states no length and ends early": actions.unsized(9000),
    "resets at once": actions.reset(),
    "resets in the middle": actions.reset(9000),
    "video resets": actions.reset(9000),
    "stalls before its answer": actions.stall(None),
    "stalls in the middle": actions.stall(9000),
    "drips": actions.drip(50, 0.02),
    "states too small a length": actions.wrong_length(-20),
    "video states too small a length": actions.wrong_length(-20),
    "states too large a length": actions.wrong_length(20),
    "video closes where it lies to end": cut_body,
    "answers HTML": actions.html(),
    "answers HTML as a picture": actions.other_bytes(actions.HTML * 9, "image/jpeg"),
    "answers gzip": actions.gzipped(),
    "answers half a gzip": actions.gzipped(200),
    "answers a gzip bomb": actions.gzipped(expands_to=30_000_000),
    "answers a program": actions.other_bytes(actions.ELF),
    "video answers a picture": actions.other_bytes(actions.jpeg()),
    "answers other bytes than its checksum": actions.headers({"content-digest": "adler32=1"}),
    "answers a part": actions.wrong_range(7),
    "answers nothing": actions.other_bytes(b""),
    "redirects to this machine": actions.redirect("http://127.0.0.3:22/"),
    "redirects to a private network": actions.redirect("https://10.0.0.1/"),
    "redirects to the metadata": actions.redirect("http://169.254.169.254/latest/meta-data/"),
    "redirects to a name that means 10.0.0.1": actions.redirect("https://inside.fbcdn.net/"),
    "redirects to a file": actions.redirect("file:///etc/passwd"),
    "redirects in a circle": redirect_to_itself,
    "never ends": actions.endless(),
    "video never ends": actions.endless(),
    "never ends, as it says": actions.endless(10**12),
    "refuses": actions.respond(403, "no"),
    "is broken": actions.respond(500),
}


def test_a_run_survives_a_hostile_cdn_and_the_next_one_completes_it(tmp_path: Path, whole: bool) -> None:
    """Code 3 with a failure for each bad file and every good one kept; then code 0 for just what was missing;
    then nothing. ``--whole``: every kind of them, else every fourth.
    """
    hostile = HOSTILE if whole else dict(list(HOSTILE.items())[1::4])
    with FaultyStandIn() as upstream:
        served = CdnAccount(tmp_path / "archive", upstream)
        for name, action in hostile.items():
            served.meets(name, action, count=None)
        offered, bad = served.offered(), {served.owner(name) for name in hostile}

        with short_waits(0.7):
            assert served.night() == 3
        assert served.kept() == offered - bad
        assert served.failures() == bad
        assert check_store(served.harness.root) == served.blobs()
        assert served.harness.rows("select title from highlights where completed_at is not null") == [
            ("Well",)
        ]

        upstream.faults.clear()
        served.harness.sleep(days=1)
        with short_waits():
            assert served.night() == 0
        fetched = [(asked.subject.item, asked.subject.role) for asked in upstream.requests.cdn_requests()]
        assert sorted(fetched) == sorted(bad)
        assert upstream.units == 1  # the tray: the pages of the first night are kept, and their links live
        assert served.kept() == offered
        assert served.failures() == set()
        assert [served.held(name) for name in hostile] == [[served.body(name)] for name in hostile]
        assert check_store(served.harness.root) == served.blobs()
        assert served.harness.one("select count(*) from highlights where completed_at is null") == 0

        assert served.night() == 0
        assert (upstream.requests.cdn_requests(), upstream.units) == ([], 1)

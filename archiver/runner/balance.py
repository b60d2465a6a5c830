"""The balance that the API states: before and after a run, and for a person."""

from __future__ import annotations

from contextlib import suppress

from archiver.catalog import record
from archiver.errors import ArchiverError, KeyRejected, UpstreamDown
from archiver.hiker import endpoints, wire
from archiver.hiker.client import HikerClient
from archiver.model.api_calls import Meaning
from archiver.model.upstream import Balance
from archiver.runner.context import RunContext
from archiver.runner.metered_api import MeteredApi
from archiver.runner.threads import Pool

_LEAD = 0.1
"""Seconds that the first paid calls wait for the balance; it has usually come by then."""


def read_balance(client: HikerClient) -> Balance:
    """Return the units left at the API, by one free call outside of any run.

    Raises KeyRejected, UpstreamDown if the API answers with an error, CallFailed if it does not answer,
    AnswerMalformed.
    """
    answer = client.send(endpoints.balance_call())
    document = wire.read_document(answer)
    outcome = wire.parse_outcome(document)
    if outcome.meaning is Meaning.KEY_REJECTED:
        raise KeyRejected(f"the API rejected the key: {outcome.detail}", "check HIKERAPI_TOKEN")
    if outcome.meaning is not Meaning.OK:
        raise UpstreamDown(f"the API did not return the balance: {outcome.detail or outcome.meaning.value}")
    return wire.parse_balance(document)


class BalanceCheck:
    """Records the API's balance before and after the paid calls of a run.

    Both calls for the balance are free; a missing answer is null. ``RunCost.mismatch`` compares the balance
    with the ledger.
    """

    def __init__(self, context: RunContext, api: MeteredApi, *, is_known: bool = False) -> None:
        """``is_known``: the balance before the run is recorded already."""
        self._catalog, self._run_id = context.catalog, context.run_id
        self._api = api
        self.is_known = is_known
        """Whether the balance before the run is recorded."""

    def begin(self, per_second: float | None, pool: Pool) -> None:
        """Set the rate of calls and record the units left.

        If ``per_second`` is None, the rate is what the API states with the balance, or 1: then this waits for
        its answer, and raises the errors of ``MeteredApi.ask_balance``. Otherwise a thread of ``pool`` waits
        for it, while the first paid calls are made, which then raise such errors themselves.
        """
        if per_second is None:
            balance = self._api.ask_balance()
            self._api.set_rate(float(balance.rate) if balance is not None and balance.rate else 1.0)
            self._record_before(balance.units if balance is not None else None)
            return
        self._api.set_rate(per_second)
        call_id = self._api.reserve_balance()  # before any paid call is
        with suppress(TimeoutError):
            pool.submit(lambda: self._record_before(self._api.ask_units_left(call_id))).result(_LEAD)

    def _record_before(self, units: int | None) -> None:
        if units is not None:
            self._catalog.write(record.balance_before, self._run_id, units)
            self.is_known = True

    def end(self, api_calls: int) -> None:
        """Record the units left, if any of ``api_calls`` were paid for. Never fails a run.

        The threads that pay must have ended.
        """
        if not api_calls or not self.is_known:
            return
        units = self._api.ask_units_left(self._api.reserve_balance())
        if units is not None:
            # An unusable database is reported when the run is recorded as ended.
            with suppress(ArchiverError):
                self._catalog.write(record.balance_after, self._run_id, units)

"""Limits counted in this process: no I/O, and never more callers than `max_keys`.

    store = MemoryStore(max_keys=100_000)
    (decision,) = store.take("client:192.0.2.1", (Charge(quota),))

A caller who is forgotten starts with a whole budget. The longest unseen is forgotten first, and whoever is being
refused is seen with each attempt, so it takes `max_keys` other callers in the meantime to be forgotten early.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from headgate.kit.controls.rate import Charge, Decisions, Quota, charge, decide, owed, shortfall

_SWEPT: Final = 2


class MemoryStore:
    """Debts by quota and caller; `max_keys` bounds the callers of each quota."""

    def __init__(self, max_keys: int = 100_000, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = max_keys
        self._clock = clock
        self._tables: dict[str, OrderedDict[str, int]] = {}

    @property
    def callers(self) -> int:
        """How many are remembered, over all quotas."""
        return sum(map(len, self._tables.values()))

    def take(self, key: str, charges: Sequence[Charge]) -> Decisions:
        """Charge a caller; see `Store.take`. Never awaits and never fails."""
        now = int(self._clock() * 1e6)
        if len(charges) != 1:
            return self._take_all(key, charges, now)
        quota, cost, force = charges[0]
        table = self._table(quota)
        tat = table.get(key, 0)
        new, decision = charge(quota, tat, now, cost, force)
        self._put(table, key, new, tat, now * quota.count)
        return (decision,)

    def learn(self, key: str, charges: Sequence[Charge], decisions: Decisions) -> None:
        """Take over what another store decided, so that counting can go on here without it."""
        now = int(self._clock() * 1e6)
        for (quota, _, _), decision in zip(charges, decisions, strict=True):
            table, clock = self._table(quota), now * quota.count
            self._put(table, key, clock + round(decision.reset * quota.per_second), table.get(key, 0), clock)

    def _take_all(self, key: str, charges: Sequence[Charge], now: int) -> Decisions:
        taken = True
        tables, debts = [], []
        for quota, cost, force in charges:
            table = self._table(quota)
            debt = table.get(key, 0) - now * quota.count
            tables.append(table)
            debts.append(max(0, debt))
            if not force and shortfall(quota, debts[-1], cost) > 0:
                taken = False
        if taken:
            debts = [owed(quota, debt, cost) for (quota, cost, _), debt in zip(charges, debts, strict=True)]
        for table, (quota, _, _), debt in zip(tables, charges, debts, strict=True):
            clock = now * quota.count
            self._put(table, key, clock + debt, table.get(key, 0), clock)
        return decide(charges, debts, taken)

    def _table(self, quota: Quota) -> OrderedDict[str, int]:
        table = self._tables.get(quota.id)
        if table is None:
            table = self._tables[quota.id] = OrderedDict()
        return table

    def _put(self, table: OrderedDict[str, int], key: str, new: int, old: int, clock: int) -> None:
        if new <= clock:
            table.pop(key, None)
            return
        table[key] = new
        if old:
            table.move_to_end(key)
            return
        # Each new caller makes room for itself among those whose debt has drained, so an idle store shrinks.
        for _ in range(_SWEPT):
            oldest = next(iter(table))
            if table[oldest] > clock and len(table) <= self._most:
                return
            del table[oldest]

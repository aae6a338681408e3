"""Bulk objects as the state machine names them: fetched, served, dropped when no step needs them (NET-4)."""

from __future__ import annotations

from attrs import define, field

from btard.node.store import ObjectStore
from btard.statemachine import effects as fx
from btard.statemachine.messages import Digest
from btard_transports.interface import Host


@define(eq=False)
class Objects:
    """What one peer asks others for and serves to them."""

    host: Host
    store: ObjectStore
    _asked: dict[Digest, int] = field(factory=dict)  # of objects on their way: the step that needs them
    _offered: dict[Digest, frozenset[int] | None] = field(factory=dict)  # to whom; None: to everybody

    def fetch(self, effect: fx.Fetch) -> memoryview | None:
        """Ask for an object, unless it is here: then return it."""
        data = self.store.data(effect.digest)
        if data is not None and self.store.keep(effect.digest, effect.step):
            return data
        self._asked[effect.digest] = effect.step
        self.host.fetch(effect.source, effect.digest, effect.size)
        return None

    def fetch_model(self, effect: fx.FetchModel, size: int) -> None:
        """Ask for a model of so many bytes."""
        self._asked[effect.digest] = effect.step
        self.host.fetch(effect.source, effect.digest, size)

    def came(self, digest: Digest, data: memoryview | bytearray) -> int | None:
        """Keep a fetched object, whose size and digest hold; say which step needs it, None where none does."""
        step = self._asked.pop(digest, None)
        if step is not None:
            self.store.add_fetched(digest, data, step)
        return step

    def offer(self, effect: fx.Offer) -> bool:
        """Serve an object to these and to whom it was offered before: equal parts are one object.

        Returns whether it is here.
        """
        data = self.store.data(effect.digest)
        if data is None:
            return False
        before = self._offered.get(effect.digest, frozenset())
        to = None if effect.to is None or before is None else before.union(effect.to)
        self._offered[effect.digest] = to
        self.host.offer(effect.digest, data, to)
        return True

    def discard(self, before: int) -> None:
        """Drop what no step from ``before`` on needs, and ask for it no longer."""
        for digest in self.store.discard(before):
            self._offered.pop(digest, None)
            self.host.withdraw(digest)
        for digest in [digest for digest, step in self._asked.items() if step < before]:
            del self._asked[digest]
            self.host.forget(digest)

"""Bulk objects as the state machine names them: fetched, served, dropped when no step needs them (NET-4)."""

from __future__ import annotations

from attrs import define, field

from btard.node.kept_objects import KeptObjects
from btard.node.store import ObjectStore
from btard.statemachine import effects as fx
from btard.statemachine.messages import Digest
from btard_transports.interface import Host


@define(eq=False)
class Objects:
    """What one peer asks others for and serves to them."""

    host: Host
    store: ObjectStore
    kept: KeptObjects | None  # None only where nothing outlives the process
    _asked: dict[Digest, int] = field(factory=dict)  # of objects on their way: the step that needs them
    _offered: dict[Digest, frozenset[int] | None] = field(factory=dict)  # to whom; None: to everybody

    def fetch(self, effect: fx.Fetch) -> int | None:
        """Ask for an object, unless it is here: then return its size in bytes."""
        data = self.store.data(effect.digest)
        if data is not None and self.store.keep(effect.digest, effect.step):
            self._keep(effect.digest, data, effect.step)
            return len(data)
        self._asked[effect.digest] = effect.step
        self.host.fetch(effect.source, effect.digest, effect.size)
        return None

    def fetch_model(self, effect: fx.FetchModel, size: int) -> None:
        """Ask for a model of so many bytes."""
        self._asked[effect.digest] = effect.step
        self.host.fetch(effect.source, effect.digest, size)

    def came(self, digest: Digest, data: memoryview | bytearray) -> bool:
        """Keep a fetched object, whose size and digest hold; say whether anybody still needs it."""
        step = self._asked.pop(digest, None)
        if step is not None:
            self.store.add_fetched(digest, data, step)
            self._keep(digest, data, step)
        return step is not None

    def _keep(self, digest: Digest, data: memoryview | bytearray, step: int) -> None:
        """Begin to write it: before the state machine knows that it is here (spec OPS-17)."""
        if self.kept is not None:
            self.kept.keep(step, digest, data)

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
        if self.kept is not None:
            self.kept.discard(before)
        for digest in self.store.discard(before):
            self._offered.pop(digest, None)
            self.host.withdraw(digest)
        for digest in [digest for digest, step in self._asked.items() if step < before]:
            del self._asked[digest]
            self.host.forget(digest)

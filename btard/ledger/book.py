"""A ledger as its reader sees it: with the run's genesis, and the rosters that its signed records lead to."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve, frozen

from btard.genesis import RunFile
from btard.keys import verify
from btard.ledger.entry import Entry
from btard.ledger.errors import LedgerError
from btard.ledger.file import FILE, Ledger
from btard.node.words import Names
from btard.runfile import RunFileError, loads
from btard.statemachine.config import Config
from btard.statemachine.ending import Ending, ending_of, enough, signers
from btard.statemachine.evidence import signature_holds
from btard.statemachine.handle import initial
from btard.statemachine.messages import Envelope, Epoch, Stay
from btard.statemachine.state import State


@frozen
class Decision:
    """What ended an epoch: its record, and the members that signed it."""

    record: Ending
    signers: tuple[int, ...]


@frozen
class Book:
    """A ledger with all that it takes to check it."""

    ledger: Ledger
    genesis: RunFile
    base: Path  # the folder that the run file was read from
    config: Config
    entries: tuple[Entry, ...]
    decisions: dict[int, Decision]  # as far as they hold, by the epoch that they ended
    state: State  # epoch and rosters, for whoever checks evidence

    @property
    def names(self) -> Names:
        """The peers' names."""
        return Names([peer.name for peer in self.genesis.peers])

    @property
    def lacks(self) -> str | None:
        """What the ledger does not hold, in words; None where it is complete (spec OPS-20)."""
        begins = self.ledger.begins()
        if begins is None:
            return None
        return (
            f"it is complete only from step {begins.step} of epoch {begins.epoch} on: what it held before was "
            "lost, but for what the journal knew of that; ask another peer for its ledger"
        )

    @property
    def rosters(self) -> tuple[tuple[int, ...], ...]:
        """The members by epoch."""
        return self.state.rosters

    def find(self, text: str) -> int:
        """Return the peer of this name or index. Raises LedgerError where there is none."""
        names = [peer.name for peer in self.genesis.peers]
        if text in names:
            return names.index(text)
        if text.isdecimal() and int(text) < len(names):
            return int(text)
        raise LedgerError(
            f"there is no peer {text!r} in this run; its peers are {self.names.list(range(len(names)))}"
        )


def open_book(folder: Path) -> Book:
    """Open a peer's ledger. Raises LedgerError where there is none, or it is damaged (spec OPS-15)."""
    ledger = Ledger.open(folder)
    try:
        genesis = loads(ledger.meta(b"genesis"), folder / FILE)
    except RunFileError as error:
        raise LedgerError(f"the ledger in {folder} holds no run file that this btard reads: {error}") from error
    if genesis.run_id != ledger.meta(b"run"):
        raise LedgerError(f"the ledger in {folder} holds the run file of another run than its own")
    keys = tuple(peer.sign_key for peer in genesis.peers)
    config = Config(genesis.run_id, 0, keys, genesis.parameters, genesis.timing, _signs_nothing, verify)
    decisions, rosters = _follow(config, ledger.decisions())
    state = evolve(initial(config), epoch=len(rosters) - 1, rosters=rosters)
    base = Path(os.fsdecode(ledger.meta(b"base")))
    return Book(ledger, genesis, base, config, tuple(ledger.entries()), decisions, state)


def _signs_nothing(_: bytes) -> bytes:
    raise AssertionError("whoever reads a ledger signs nothing")


def _follow(
    config: Config, records: dict[int, tuple[Envelope, ...]]
) -> tuple[dict[int, Decision], tuple[tuple[int, ...], ...]]:
    """Go from roster to roster, as far as enough of each signed the next (spec AGR-15)."""
    rosters: list[tuple[int, ...]] = [tuple(range(config.peers))]
    decisions: dict[int, Decision] = {}
    while (epoch := len(rosters) - 1) in records:
        decision = _decided(config, epoch, rosters[-1], records[epoch])
        if decision is None:
            break
        decisions[epoch] = decision
        rosters.append(decision.record.roster)
    return decisions, tuple(rosters)


def _decided(
    config: Config, epoch: int, roster: tuple[int, ...], envelopes: tuple[Envelope, ...]
) -> Decision | None:
    found: dict[Ending, list[Envelope]] = {}
    for envelope in envelopes:
        message = envelope.message
        if message is None or message.epoch != epoch or envelope.author not in roster:
            continue
        if isinstance(message.body, Epoch | Stay) and signature_holds(config, envelope):
            found.setdefault(ending_of(message.body), []).append(envelope)
    for ending, signed in found.items():
        if enough(roster, ending, signed) and set(ending.roster) <= set(roster):
            return Decision(ending, tuple(sorted(signers(ending, signed))))
    return None

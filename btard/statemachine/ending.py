"""How an epoch can end: records that members signed, and how many of them are enough (spec AGR-15)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from attrs import frozen

from btard.statemachine.config import quorum
from btard.statemachine.messages import Digest, Envelope, Epoch, SlotKey, Stay, also_signed
from btard.statemachine.state import State


@frozen
class Ending:
    """What equal records say: where the next epoch starts, and with whom."""

    next_step: int
    view: Digest
    bans: tuple[int, ...]
    roster: tuple[int, ...]
    together: bool  # STAY: those of the roster go on together; else EPOCH: SETTLE's outcome


def ending_of(record: Epoch | Stay) -> Ending:
    """Return what a record says, whoever signed it."""
    if isinstance(record, Stay):
        return Ending(record.next_step, record.view, (), record.roster, together=True)
    return Ending(record.next_step, record.view, record.bans, record.roster, together=False)


def signers(ending: Ending, envelopes: Iterable[Envelope]) -> dict[int, Envelope]:
    """Return the signatures that count, by author: who is left out does not decide (spec AGR-15)."""
    return {envelope.author: envelope for envelope in envelopes if envelope.author in ending.roster}


def enough(members: Sequence[int], ending: Ending, envelopes: Iterable[Envelope]) -> bool:
    """Whether these signatures on an ending suffice among the members of the epoch (spec AGR-15).

    A quorum on an outcome; on a STAY at least that, and everybody whom it lists, or, where it leaves somebody
    out, a quorum that had signed nothing else.
    """
    signed = signers(ending, envelopes)
    if len(signed) < quorum(len(members)) or not ending.together:
        return len(signed) >= quorum(len(members))
    bodies = [envelope.message.body for envelope in signed.values() if envelope.message]
    first = [body for body in bodies if isinstance(body, Stay) and body.first]
    part = len(ending.roster) < len(members)
    return len(signed) == len(ending.roster) or (part and len(first) >= quorum(len(members)))


def endings(state: State) -> dict[Ending, list[Envelope]]:
    """Return who signed which record of this epoch's end, as far as it is here.

    A cheat may sign several, and others count each.
    """
    found: dict[Ending, dict[int, Envelope]] = defaultdict(dict)
    records = [envelope for author in state.roster for envelope in epoch_records(state, author)]
    # What fewer than a quorum says decides nothing, and a cheat can send a lot of it, early on.
    if len({author for author, _ in state.stays}) >= quorum(len(state.roster)):
        records += state.stays.values()
    for envelope in records:
        body = envelope.message.body if envelope.message else None
        if isinstance(body, Epoch | Stay):
            found[ending_of(body)][envelope.author] = envelope
    return {ending: list(envelopes.values()) for ending, envelopes in found.items()}


def epoch_records(state: State, author: int) -> list[Envelope]:
    """Return the EPOCH messages of a member that are here: one, or more from a cheat."""
    slot: SlotKey = ("epoch", state.epoch, author)
    if slot not in state.slots:
        return []
    keys = (slot, *(also_signed(slot, sender) for sender in state.roster))
    return [state.slots[key] for key in keys if key in state.slots]


def stays_of(state: State, author: int) -> list[Envelope]:
    """Return the STAY messages of a member that are here: it gave up more and more, or cheats."""
    if not state.stays:
        return []
    kept = sorted(key for key in state.stays if key[0] == author)
    return list({state.stays[key].hash: state.stays[key] for key in kept}.values())


def bound(state: State, me: int, ending: Ending) -> bool:
    """Whether the STAY that this peer signed last keeps it from this ending (spec AGR-27)."""
    if state.stayed is None or ending == ending_of(state.stayed):
        return False
    return not ending.together or me in ending.roster  # who signed to go on without this peer never comes back


def given_up(state: State) -> frozenset[int]:
    """Return whom the operator of this peer gave up in this epoch (spec AGR-26)."""
    return state.halted.without if state.halted else frozenset()

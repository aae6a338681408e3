"""What can happen to a peer: the inputs of `handle`."""

from __future__ import annotations

from attrs import frozen

from btard.statemachine.compute import Request, Result
from btard.statemachine.effects import Timer
from btard.statemachine.messages import Digest, Frame


@frozen
class Start:
    """Begin the run with the model whose digest is ``model_digest``."""

    model_digest: Digest


@frozen
class Received:
    """A frame came over the authenticated link from ``sender``."""

    sender: int
    frame: Frame


@frozen
class Held:
    """A fetched object of ``size`` bytes is here; its size and digest were checked."""

    digest: Digest
    size: int


@frozen
class Computed:
    """The result of a request."""

    request: Request
    result: Result


@frozen
class Fired:
    """A timer ran out."""

    timer: Timer


@frozen
class Resume:
    """The operator has looked, and gives up these members (spec AGR-26)."""

    without: tuple[int, ...]


@frozen
class Returned:
    """A crash lies between what came before and what comes now; own messages were sent again (spec AGR-25)."""


Event = Start | Received | Held | Computed | Fired | Resume | Returned

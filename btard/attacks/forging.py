"""Signing what the protocol does not want to be signed; needs no torch."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve, field

from btard.statemachine import effects as fx
from btard.statemachine.config import Config
from btard.statemachine.messages import (
    Body,
    Envelope,
    Message,
    SlotKey,
)
from btard.wire import encode_payload, make_envelope, signed_content

Change = Callable[[Body], Body]
NO_MESSAGE = b"\xa1\x00\x00"
"""CBOR, but no message."""


def sign(config: Config, author: int, payload: bytes) -> Envelope:
    """Sign any bytes with the key of ``config``, as ``author``."""
    return make_envelope(author, payload, config.sign(signed_content(config.run, payload)))


def forge(config: Config, epoch: int, body: Body) -> Envelope:
    """Sign any message with the key of ``config``."""
    return sign(config, config.me, encode_payload(epoch, body))


def own_body(effect: fx.Effect, me: int, kinds: type[Body] | tuple[type[Body], ...]) -> Body | None:
    """Return the body of the own message of these kinds that an effect sends; None for any other effect."""
    if isinstance(effect, fx.Send) and isinstance(effect.frame, Envelope) and effect.frame.author == me:
        body = effect.frame.message.body if effect.frame.message else None
        return body if isinstance(body, kinds) else None
    return None


@define
class Forgery:
    """Another message in place of each honest one of the own: the same, however often it is sent."""

    config: Config
    change: Change
    _forged: dict[SlotKey, Envelope] = field(factory=dict)

    def of(self, message: Message) -> Envelope:
        """Return what to send in place of an own message."""
        if message.slot not in self._forged:
            self._forged[message.slot] = forge(self.config, message.epoch, self.change(message.body))
        return self._forged[message.slot]

    def instead(self, effect: fx.Effect) -> fx.Send:
        """Return an effect that sends that, to whom ``effect`` sends the own message."""
        if (
            not isinstance(effect, fx.Send)
            or not isinstance(effect.frame, Envelope)
            or not effect.frame.message
        ):
            raise TypeError("only the sending of a message can be replaced")
        return evolve(effect, frame=self.of(effect.frame.message))

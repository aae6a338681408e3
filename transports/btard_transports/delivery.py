"""Calls of a handler as values, so that each transport delivers in one place."""

from collections.abc import Callable, Hashable
from typing import TypeAlias

from btard_transports.interface import Handler

Delivery: TypeAlias = Callable[[Handler], None]


def control(peer: int, frame: bytes) -> Delivery:
    """A control frame."""
    return lambda handler: handler.on_control(peer, frame)


def bulk(digest: bytes, data: memoryview) -> Delivery:
    """A verified object."""
    return lambda handler: handler.on_bulk(digest, data)


def timer(name: Hashable) -> Delivery:
    """An expired timer."""
    return lambda handler: handler.on_timer(name)


def done(token: Hashable, result: object) -> Delivery:
    """A finished computation."""
    return lambda handler: handler.on_done(token, result)


def link(peer: int, up: bool) -> Delivery:
    """A link that came up or broke."""
    return lambda handler: handler.on_link(peer, up)

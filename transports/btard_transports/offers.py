"""What an owner offers, to whom, and who asked too early. No I/O: both transports use it."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs

from btard_transports.interface import Buffer, byte_view, check_object

Request = TypeVar("Request")

# Requests for what is not offered yet: one per object, so far above the objects of a step that a peer owes.
MAX_WAITING = 1024
# Only where requesters are not authenticated can there be more of them than peers.
MAX_REQUESTERS = 4096
# Links break, requests are repeated, peers come back; but nobody needs the whole object more often than this.
MAX_SERVINGS = 8


@attrs.define
class _Offer:
    data: memoryview
    to: frozenset[int] | None
    served: dict[Hashable, int] = attrs.field(factory=dict)


class OfferBook(Generic[Request]):
    """Offers by digest, and per requester the requests that came before their offer, oldest first.

    A requester is a peer index, or a connection where requesters are not authenticated.
    """

    def __init__(self) -> None:
        self._offers: dict[bytes, _Offer] = {}
        self._waiting: OrderedDict[Hashable, OrderedDict[bytes, Request]] = OrderedDict()

    def offer(self, digest: bytes, data: Buffer, to: frozenset[int] | None) -> list[Request]:
        """Offer an object; return the requests that waited for it, to be tried again."""
        view = byte_view(data)
        check_object(digest, len(view))
        self._offers[digest] = _Offer(view, to)
        waiting = [requests.pop(digest, None) for requests in self._waiting.values()]
        return [request for request in waiting if request is not None]

    def withdraw(self, digest: bytes) -> None:
        """Offer the object no longer."""
        self._offers.pop(digest, None)

    def find(self, digest: bytes, peer: int | None) -> memoryview | None:
        """The object, if it is offered to `peer`. None stands for a requester that is not authenticated."""
        offer = self._offers.get(digest)
        if offer is None or not (peer is None or offer.to is None or peer in offer.to):
            return None
        return offer.data

    def charge(self, digest: bytes, requester: Hashable, size: int) -> bool:
        """Whether `requester` may be sent `size` more bytes of an object; if so, charge them (NET-9)."""
        offer = self._offers[digest]
        served = offer.served.get(requester, 0) + size
        if served > MAX_SERVINGS * len(offer.data):
            return False
        offer.served[requester] = served
        return True

    def wait(self, requester: Hashable, digest: bytes, request: Request) -> None:
        """Keep a request until its object is offered, one per requester and object (NET-5).

        The oldest falls away where there are too many; whoever sent it asks again in time.
        """
        requests = self._waiting.setdefault(requester, OrderedDict())
        self._waiting.move_to_end(requester)
        requests[digest] = request
        requests.move_to_end(digest)
        if len(requests) > MAX_WAITING:
            requests.popitem(last=False)
        if len(self._waiting) > MAX_REQUESTERS:
            self._waiting.popitem(last=False)

    def drop(self, requester: Hashable) -> None:
        """Forget what `requester` waits for."""
        self._waiting.pop(requester, None)

"""Free loopback addresses, for tests, benchmarks and the demonstration."""

import contextlib
import socket
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def free_endpoints(n: int) -> Iterator[list[tuple[str, str]]]:
    """`n` pairs of free loopback addresses (control, bulk), as tcp://127.0.0.1:port.

    On Linux the ports stay reserved while the context is open: no other program and no outgoing connection
    gets one, and a ZeroMQ socket of any process can listen on it all the same, because both allow the reuse
    of addresses and the reserving socket never listens. Keep the context open until all have bound.
    """
    with contextlib.ExitStack() as stack:
        ports = [_reserve(stack) for _ in range(2 * n)]
        if sys.platform != "linux":
            stack.close()
        addresses = [f"tcp://127.0.0.1:{port}" for port in ports]
        yield list(zip(addresses[::2], addresses[1::2], strict=True))


def _reserve(stack: contextlib.ExitStack) -> int:
    reserved = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port: int = reserved.getsockname()[1]
    return port

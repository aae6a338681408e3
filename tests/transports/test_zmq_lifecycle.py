"""Starting, stopping, and what goes wrong with addresses and keys."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable

import attrs
import pytest

from btard.keys import KeyPair
from btard_transports.interface import Endpoint, TransportError
from btard_transports.ports import free_endpoints
from btard_transports.zmq_mesh import ZmqMesh
from tests.transports.fabric import Recorder, ZmqFabric

Maker = Callable[..., ZmqFabric]


def one_line(error: pytest.ExceptionInfo[TransportError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.refuses("NET-10")
@pytest.mark.parametrize("port", ["control", "bulk"])
def test_a_port_in_use_is_named(zmq_fabric: Maker, port: str) -> None:
    fabric = zmq_fabric(2, absent=[1])
    taken = fabric.endpoints[0].control
    fabric.endpoints[1] = attrs.evolve(fabric.endpoints[1], **{port: taken})
    with pytest.raises(TransportError) as error:
        fabric.start(1)
    assert one_line(error) == (
        f"cannot listen on {taken}: another program listens on this port; stop it, or choose another port"
    )


@pytest.mark.refuses("NET-10")
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:7000", "of the form tcp://host:port"),
        ("tcp://127.0.0.1", "of the form tcp://host:port"),
        ("tcp://127.0.0.1:port", "of the form tcp://host:port"),
        ("tcp://127.0.0.1:70000", "of the form tcp://host:port"),
        ("http://127.0.0.1:7000", "of the form tcp://host:port"),
        ("", "of the form tcp://host:port"),
        ("tcp://192.0.2.1:7000", "this machine has no such address"),
        ("tcp://nosuchinterface:7000", "this machine has no such address"),
    ],
)
def test_addresses_that_one_cannot_listen_on(address: str, says: str) -> None:
    keys = KeyPair.generate()
    with pytest.raises(TransportError) as error:
        ZmqMesh(0, {0: Endpoint(address, "tcp://127.0.0.1:1", keys.curve_public)}, keys)
    assert one_line(error).startswith(f"cannot listen on {address}: ")
    assert says in one_line(error)


@pytest.mark.refuses("NET-10")
@pytest.mark.parametrize("address", ["127.0.0.1:7000", "tcp://127.0.0.1", "tcp://127.0.0.1:70000", ""])
@pytest.mark.parametrize("port", ["control", "bulk"])
def test_addresses_that_one_cannot_connect_to(zmq_fabric: Maker, address: str, port: str) -> None:
    fabric = zmq_fabric(2, absent=[0, 1])
    fabric.endpoints[1] = attrs.evolve(fabric.endpoints[1], **{port: address})
    with pytest.raises(TransportError) as error:
        fabric.start(0)
    assert one_line(error) == f"cannot connect to {address}: it must be of the form tcp://host:port"


@pytest.mark.refuses("NET-10")
def test_keys_that_do_not_fit_the_roster(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[0, 1])
    with pytest.raises(TransportError, match="key file is not that of peer 0"):
        ZmqMesh(0, fabric.endpoints, fabric.keys[1])
    with pytest.raises(TransportError, match="peer 7 has no endpoint"):
        ZmqMesh(7, fabric.endpoints, fabric.keys[1])
    fabric.endpoints[1] = attrs.evolve(fabric.endpoints[1], curve_public="no key")
    with pytest.raises(TransportError, match="'no key' is no CURVE public key"):
        fabric.start(0)
    fabric.endpoints[1] = attrs.evolve(fabric.endpoints[1], curve_public=fabric.keys[0].curve_public)
    with pytest.raises(TransportError, match="peers 0 and 1 have the same CURVE key"):
        fabric.start(0)


def test_members_must_have_endpoints(zmq_fabric: Maker) -> None:
    with pytest.raises(ValueError, match=r"peers \[5\] have no endpoint"):
        zmq_fabric(2).meshes[0].set_members(frozenset({0, 1, 5}))


def test_the_address_to_listen_on_may_differ_from_the_one_to_reach(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[0])
    control, bulk = (
        address.replace("127.0.0.1", "0.0.0.0")
        for address in (fabric.endpoints[0].control, fabric.endpoints[0].bulk)
    )
    with ZmqMesh(
        0, fabric.endpoints, fabric.keys[0], bind_control=control, bind_bulk=bulk, linger=0
    ) as fabric.meshes[0]:
        fabric.meshes[1].send(0, b"hello")
        fabric.until(lambda: bool(fabric.recorders[0].frames))
        del fabric.meshes[0]


def is_free(address: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            probe.listen()
        except OSError:
            return False
        return True


def test_run_ends_when_its_condition_holds_and_stays_open(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(1)
    mesh, recorder = fabric.meshes[0], fabric.recorders[0]
    mesh.set_timer("now", 0.0)
    mesh.run(recorder, lambda: bool(recorder.timers))
    assert not is_free(fabric.endpoints[0].control)
    mesh.set_timer("again", 0.0)
    mesh.run(recorder, lambda: len(recorder.timers) == 2)


def test_stop_from_another_thread_ends_run_and_closes_everything(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(1)
    mesh = fabric.meshes[0]
    stopper = threading.Thread(target=mesh.stop)
    stopper.start()
    mesh.run(fabric.recorders[0], lambda: False)
    stopper.join()
    assert is_free(fabric.endpoints[0].control)
    assert is_free(fabric.endpoints[0].bulk)
    mesh.close()


def test_what_was_sent_before_a_stop_still_arrives(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(2, absent=[0])
    farewell = 200

    @attrs.define
    class Leaving(Recorder):
        def on_link(self, peer: int, up: bool) -> None:
            for number in range(farewell):
                leaving.send(peer, b"%d" % number * 1000)
            leaving.stop()

    leaving = ZmqMesh(0, fabric.endpoints, fabric.keys[0])
    runner = threading.Thread(target=leaving.run, args=(Leaving(), lambda: False))
    runner.start()
    fabric.until(lambda: len(fabric.recorders[1].frames) == farewell)
    runner.join()


@attrs.define
class Interrupted(Recorder):
    """The operator presses Ctrl-C."""

    def on_timer(self, timer: object) -> None:
        signal.raise_signal(signal.SIGINT)


@attrs.define
class Faulty(Recorder):
    """A handler with a bug."""

    def on_timer(self, timer: object) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("handler", "error"), [(Interrupted(), KeyboardInterrupt), (Faulty(), ZeroDivisionError)]
)
def test_an_interrupt_or_a_fault_in_the_handler_closes_everything(
    zmq_fabric: Maker, handler: Recorder, error: type[BaseException]
) -> None:
    fabric = zmq_fabric(2)
    fabric.meshes[0].set_timer("interrupt", 0.0)
    with pytest.raises(error):
        fabric.meshes[0].run(handler, lambda: False)
    assert is_free(fabric.endpoints[0].control)
    assert is_free(fabric.endpoints[0].bulk)


def test_an_interrupt_while_the_loop_waits_closes_everything(zmq_fabric: Maker) -> None:
    fabric = zmq_fabric(1)
    main = threading.get_ident()

    @attrs.define
    class Waiting(Recorder):
        def on_timer(self, timer: object) -> None:
            fabric.meshes[0].submit("interrupt", lambda: signal.pthread_kill(main, signal.SIGINT))

    fabric.meshes[0].set_timer("begin", 0.0)
    with pytest.raises(KeyboardInterrupt):
        fabric.meshes[0].run(Waiting(), lambda: False)
    assert is_free(fabric.endpoints[0].control)


def test_closing_waits_for_the_computation_under_way_and_drops_the_others(zmq_fabric: Maker) -> None:
    mesh = zmq_fabric(1).meshes[0]
    started, release = threading.Event(), threading.Event()
    ran: list[str] = []

    def long() -> None:
        started.set()
        release.wait()
        ran.append("long")

    mesh.submit("long", long)
    mesh.submit("dropped", lambda: ran.append("dropped"))
    started.wait()
    threading.Timer(0.01, release.set).start()
    mesh.close()
    assert ran == ["long"]


def test_reserved_ports_are_distinct_and_can_be_listened_on() -> None:
    with free_endpoints(20) as addresses:
        flat = [address for pair in addresses for address in pair]
        assert len(set(flat)) == 40
        assert all(is_free(address) for address in flat)

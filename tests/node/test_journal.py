"""What was signed is on disk before anybody else can see it, and nobody signs over it."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from btard.node import frozen, journal
from btard.node.frozen import FrozenError, freeze, thaw
from btard.node.journal import Journal, JournalError, journal_path
from btard.statemachine.events import Received
from btard.statemachine.messages import Envelope
from btard.statemachine.state import State
from btard.wire import decode_frame
from fuzz.world import Culprits, World, configs, parameters
from tests.node.cluster import key
from tests.node.damage import KEY, RUN, Killed, envelope, held, opened, used
from tests.node.read_only import open_to_all, read_only
from tests.node.returns import RUN as RETURNS_RUN
from tests.node.returns import Returns

# -- values as bytes --------------------------------------------------------------------------------------


class Noted(World):
    """Notes every event and the state that it led to."""

    noted: list[object]

    def step(self, peer: int, event: object) -> None:
        super().step(peer, event)  # type: ignore[arg-type]
        self.noted += [event, self.states[peer]]


@pytest.mark.shows("OPS-5")
def test_every_state_and_event_of_a_run_comes_back_as_it_was() -> None:
    world = Noted(configs(4, parameters(4)), seed=1, oracle=Culprits(gradient=[3]))
    world.noted = []
    world.run(lambda: world.over(range(3)))
    assert any(isinstance(value, State) and value.epoch == 1 for value in world.noted)
    for value in world.noted[::7]:
        assert thaw(freeze(value)) == value
    malformed = Received(1, evolve(envelope(1), payload=b"\xff", message=None, hash=bytes(32)))
    assert thaw(freeze(malformed)).frame.message is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.binary(max_size=5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.integers(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    assert thaw(freeze(value)) == value


@pytest.mark.refuses("OPS-5")
@given(st.binary(max_size=40) | st.sampled_from([b"\x81\x65State", b"\x80", b"\x82\x65Phase\x18\x63", b"\xa0"]))
def test_bytes_that_are_no_value_are_refused(data: bytes) -> None:
    with suppress(FrozenError):
        assert freeze(thaw(data))


def test_only_values_of_the_state_machine_are_written() -> None:
    for value in (object(), [1], Path("x"), frozen):
        with pytest.raises(FrozenError, match="is nothing that a journal holds"):
            freeze(value)


# -- what is written is read --------------------------------------------------------------------------------


@pytest.mark.shows("MSG-7", "OPS-5", "OPS-7")
def test_what_is_durable_is_there_again_and_nothing_else(tmp_path: Path) -> None:
    with closing(used(tmp_path / "j")):
        pass
    with closing(opened(tmp_path / "j")) as again:
        assert again.saved is not None
        assert again.saved.events == (held(0), held(1), held(2))  # the last one was not durable
        assert all(again.knows(envelope(step).message.slot, envelope(step).hash) for step in range(3))
        again.record(held(5))
        again.flush()
    with closing(opened(tmp_path / "j")) as again:
        assert again.saved is not None
        assert again.saved.events == (held(0), held(1), held(2), held(5))


@pytest.mark.shows("MSG-7", "OPS-5")
def test_a_snapshot_takes_the_place_of_what_led_to_it(tmp_path: Path) -> None:
    with closing(used(tmp_path / "j")) as first:
        saved = Killed.of(_made(tmp_path / "killed")).saved
        first.snapshot(saved.state, saved.outstanding)
        first.record(held(9))
        first.flush()
    with closing(opened(tmp_path / "j")) as again:
        assert again.saved == evolve(saved, events=(held(9),))
        assert again.knows(envelope(0).message.slot, envelope(0).hash)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.shows("MSG-7")
def test_a_message_is_durable_before_it_is_sent(tmp_path: Path) -> None:
    """Whatever peer 0 sends and has signed itself is in what another process would read at that moment."""
    returns = Returns(tmp_path, peers=4, steps=1)
    place = journal_path(tmp_path / "p0", RETURNS_RUN)
    copy = tmp_path / "copy"
    sent = 0

    def carried(sender: int, _receiver: int, frame: bytes) -> list[tuple[float, bytes]]:
        nonlocal sent
        if sender == 0 and frame[1:].startswith(b"\x67message") and sent % 5 == 0:
            message = decode_frame(frame, 4)
            assert isinstance(message, Envelope)
            assert message.message is not None
            if message.author == 0:
                for suffix in ("", "-wal", "-head"):
                    copy.with_name(f"copy{suffix}").write_bytes(
                        place.with_name(place.name + suffix).read_bytes()
                    )
                with closing(Journal(copy, RETURNS_RUN, key(0).sign_public)) as read:
                    assert read.knows(message.message.slot, message.hash)
        sent += sender == 0
        return [(0.0, frame)]

    returns.network.filter = carried
    returns.run()
    returns.check_finished()
    returns.close()
    assert sent > 20


# -- what a journal refuses ---------------------------------------------------------------------------------


@pytest.mark.refuses("MSG-5", "MSG-7")
def test_another_message_for_a_slot_is_not_signed(tmp_path: Path) -> None:
    with closing(used(tmp_path / "j")) as first:
        other = evolve(envelope(1), hash=bytes(32))
        first.sign(envelope(1))  # the same one again is no other
        with pytest.raises(JournalError, match="holds another message for"):
            first.sign(other)
    with closing(opened(tmp_path / "j")) as again, pytest.raises(JournalError, match="nothing was sent"):
        again.sign(other)


@pytest.mark.shows("MSG-7")
def test_a_start_that_signed_nothing_leaves_no_journal(tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    journal.record(held(0))
    journal.flush()
    journal.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.refuses("MSG-7")
@pytest.mark.parametrize(
    ("run", "public", "version", "says"),
    [
        (b"x" * 32, KEY, "1", "the journal of another run: choose another --out"),
        (RUN, bytes(32), "1", "the journal of another peer: use its key"),
        (RUN, KEY, "2", "written by btard 1: a step goes on with the version that began it"),
    ],
)
def test_the_journal_of_another_run_key_or_version(
    tmp_path: Path, run: bytes, public: bytes, version: str, says: str
) -> None:
    used(tmp_path / "j").close()
    with pytest.raises(JournalError, match=says):
        Journal(tmp_path / "j", run, public, version)
    opened(tmp_path / "j").close()  # it is as it was


@pytest.mark.refuses("MSG-7")
def test_a_journal_of_a_newer_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FORMAT", journal.FORMAT + 1)
    used(tmp_path / "j").close()
    monkeypatch.undo()
    with pytest.raises(JournalError, match="written by another version of btard: install that one"):
        opened(tmp_path / "j")


@pytest.mark.refuses("OPS-2")
def test_a_journal_in_use(tmp_path: Path) -> None:
    with closing(used(tmp_path / "j")), pytest.raises(JournalError, match="is in use by another process"):
        opened(tmp_path / "j")


@pytest.mark.refuses("OPS-7")
@pytest.mark.parametrize("value", ["1", 1 << 60, 0.5])
@pytest.mark.parametrize("name", ["format", "run", "key", "version"])
def test_a_journal_that_says_of_itself_what_is_no_bytes_is_damaged(
    tmp_path: Path, name: str, value: object
) -> None:
    used(tmp_path / "j").close()
    with closing(sqlite3.connect(tmp_path / "j", isolation_level=None)) as database:
        database.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
    with pytest.raises(JournalError, match="is damaged"):
        opened(tmp_path / "j")


@pytest.mark.refuses("OPS-7")
@pytest.mark.parametrize("word", [b"slot", b"hash", b"UNIQUE", b"KEY", b"signed"])
def test_a_table_that_was_changed_is_damage(tmp_path: Path, word: bytes) -> None:
    """Found by changing a byte at every place: SQLite finds nothing wrong with a column of another name."""
    killed = Killed.of(_made(tmp_path / "first"))
    seen = 0
    for name, data in killed.files.items():
        place = data.find(b"CREATE TABLE")
        while place >= 0 and (place := data.find(word, place)) >= 0:
            changed = {**killed.files, name: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]}
            said = killed.outcome(changed, tmp_path / "again")
            assert said == "" or "is damaged" in said
            seen += "is damaged" in said
            place += 1
    assert seen


@pytest.mark.refuses("MSG-7", "OPS-7")
def test_damage_at_any_place_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Some places; `python -m tests.node.damage` tries all of them."""
    killed = Killed.of(_made(tmp_path / "first"))
    assert sorted(killed.files) == ["j", "j-head", "j-wal"]
    outcomes = {what: killed.outcome(files, tmp_path / "again") for what, files in killed.damaged(397)}
    assert killed.outcome(killed.files, tmp_path / "again") == ""
    assert not any("\n" in line for line in outcomes.values())
    for what in (
        "j-wal: gone",
        "j-head: gone",
        "j: gone",
        "j-wal: cut at 0",
        "j-head: cut at 0",
        "j: cut at 0",
    ):
        assert "is damaged" in outcomes[what]
        assert "signs nothing more in this run" in outcomes[what]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may become larger: what a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.refuses("MSG-7")
def test_on_a_full_disk_nothing_more_is_sent_and_the_peer_comes_back_when_there_is_room(tmp_path: Path) -> None:
    returns = Returns(tmp_path)
    with room_for(60_000), pytest.raises(JournalError, match=r"cannot use the journal .*make room on the disk"):
        returns.run()
    assert any(author == 0 for author, _ in returns.signed)
    returns.kill(0)
    returns.start(0)
    returns.run()
    returns.check_finished()
    returns.close()


@pytest.mark.refuses("MSG-7")
@pytest.mark.parametrize("size", [0, 10, 5000])
def test_a_journal_that_cannot_be_begun_is_an_error_of_one_line(tmp_path: Path, size: int) -> None:
    with room_for(size), pytest.raises(JournalError, match="cannot use the journal") as caught:
        opened(tmp_path / "j")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(JournalError, match=r"cannot use the journal.*No such file"):
        opened(tmp_path / "missing" / "j")


# -- a disk that is read-only -------------------------------------------------------------------------------

REFUSED = (
    r"^cannot (use the journal|write the model to) .*; make room on the disk, or make the folder writable, and "
)


@pytest.mark.refuses("MSG-7")
@pytest.mark.parametrize("before", [True, False])
def test_on_a_read_only_disk_no_journal_is_begun_or_gone_on_with(before: bool) -> None:
    with open_to_all() as folder:
        if before:
            used(folder / "j").close()
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        with read_only(folder), pytest.raises(JournalError, match=REFUSED) as caught:
            opened(folder / "j")
        assert "Permission denied" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
        opened(folder / "j").close()  # it is as it was


@pytest.mark.refuses("MSG-7")
def test_a_disk_that_becomes_read_only_stops_a_peer_before_it_sends_anything_more() -> None:
    """As it does where the system remounts it after an error; the peer goes on when it can be written again."""
    with open_to_all() as folder:
        returns = Returns(folder)
        returns.run(lambda: returns.nodes[0].state.at.number == 1)
        before = [slot for author, slot in returns.signed if author == 0]
        with read_only(folder, remounted=True), pytest.raises(JournalError, match=REFUSED) as caught:
            returns.run()
        assert "\n" not in str(caught.value)
        assert [slot for author, slot in returns.signed if author == 0] == before != []
        returns.kill(0)
        returns.start(0)
        returns.run()
        returns.check_finished()
        returns.close()

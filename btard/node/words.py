"""What a peer reports, in words for a person: one line for each thing that one wants to know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field, frozen

MAX_NAMES: Final = 8  # in a line
PROGRESS_SECONDS: Final = 10.0  # between two lines about steps in which nothing is evaluated
REPEAT_SECONDS: Final = 30.0  # until the same line about waiting comes again

_PEERS = re.compile(r"\bpeers \[([0-9, ]*)\]|\bpeer ([0-9]+)\b(?!\.[0-9])")


@frozen
class Line:
    """One line; ``level`` is detail, info, warning or error."""

    level: str
    text: str


def listed(words: Sequence[str]) -> str:
    """Return words with commas and an ``and``, the first few of many."""
    if len(words) > MAX_NAMES:
        return f"{', '.join(words[:MAX_NAMES])} and {len(words) - MAX_NAMES} more"
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


@frozen
class Names:
    """The names of a run's peers, by index."""

    names: Sequence[str]

    def of(self, peer: object) -> str:
        """Return a peer's name."""
        if isinstance(peer, int) and 0 <= peer < len(self.names):
            return self.names[peer]
        return f"peer {peer}"

    def list(self, peers: Sequence[object], reasons: Sequence[str] = ()) -> str:
        """Return the names of several, each with its reason where there is one."""
        notes = [f" ({reason})" if reason else "" for reason in reasons] or [""] * len(peers)
        return listed([f"{self.of(peer)}{note}" for peer, note in zip(peers, notes, strict=True)])

    def put(self, text: str) -> str:
        """Replace ``peer 3`` and ``peers [1, 3]`` in a text by names."""

        def name(match: re.Match[str]) -> str:
            several = match[1]
            found = several.split(",") if several is not None else [match[2]]
            return listed([self.of(int(index)) for index in found if index.strip()])

        return _PEERS.sub(name, text)


@define(eq=False)
class Narrator:
    """Tells the events of one peer. Remembers what it told, to say nothing twice."""

    names: Names
    steps: int
    status: str = "btard status"  # the command that shows this peer
    _started: bool = False
    _finished: bool = False
    _closing: bool = False
    _begun: float = 0.0  # when training began
    _progress: float = float("-inf")  # when the last line on progress came
    _waiting: tuple[str, float] = ("", 0.0)
    _down: set[int] = field(factory=set)  # links that were up before
    _late: list[str] = field(factory=list)  # convictions that came after the update

    def tell(self, event: str, t: float, fields: Mapping[str, Any]) -> Line | None:
        """Return the line for an event at ``t`` seconds; None where there is nothing to say."""
        teller = getattr(self, f"_tell_{event}", None)
        return None if teller is None else teller(t, fields)

    def _place(self, fields: Mapping[str, Any]) -> str:
        step = int(fields["step"])
        return f"step {step}" if step <= self.steps else f"closing step {step - self.steps}"

    # -- before the start -------------------------------------------------------------------------------

    def _tell_listening(self, t: float, fields: Mapping[str, Any]) -> Line:
        places = f"{fields['control']} (messages) and {fields['bulk']} (vectors)"
        others = len(self.names.names) - 1
        return Line("info", f"run {fields['run'][:8]}: listening on {places}; waiting for {others} others")

    def _tell_waiting(self, t: float, fields: Mapping[str, Any]) -> Line | None:
        text = f"waiting for {self.names.list(fields['missing'], fields['reasons'])}"
        told, at = self._waiting
        if text == told and t < at + REPEAT_SECONDS:
            return None
        self._waiting = text, t
        return Line("info", text)

    def _tell_joined(self, t: float, fields: Mapping[str, Any]) -> Line:
        missing = fields["missing"]
        rest = f"; {self.names.list(missing)} to come" if missing else ""
        return Line("info", f"{self.names.of(fields['peer'])} is here{rest}")

    def _tell_mismatch(self, t: float, fields: Mapping[str, Any]) -> Line:
        return Line("error", self.names.put(fields["reason"]))

    def _tell_numerics(self, t: float, fields: Mapping[str, Any]) -> Line:
        classes = [self.names.put(words) for words in fields["classes"]]
        if len(classes) == 1:
            return Line("detail", f"one numerics class: {classes[0]}")
        off = f"gradients up to {fields['deviation']:.1e} off"
        return Line("info", f"{len(classes)} numerics classes, {off}: {'; '.join(classes[:MAX_NAMES])}")

    def _tell_returned(self, t: float, fields: Mapping[str, Any]) -> Line:
        self._started, self._begun = True, t
        return Line("info", f"back in the run, at {self._place(fields)}, {fields['phase']}")

    def _tell_came_back(self, t: float, fields: Mapping[str, Any]) -> Line:
        return Line("info", f"{self.names.of(fields['peer'])} was started again and is back")

    def _tell_started(self, t: float, fields: Mapping[str, Any]) -> Line:
        self._started, self._begun = True, t
        return Line("info", f"all {len(self.names.names)} peers are here; training begins, {self.steps} steps")

    # -- training ---------------------------------------------------------------------------------------

    def _tell_progress(self, t: float, fields: Mapping[str, Any]) -> Line:
        step = fields["step"]
        words = [f"step {step} of {self.steps}"]
        words += [f"{name} {fields[name]:.4g}" for name in ("loss", "accuracy") if name in fields]
        if t > self._begun:
            words.append(f"{step / (t - self._begun) * 60:.0f} steps a minute")
        patience = 1.0 if "accuracy" in fields else PROGRESS_SECONDS
        if t < self._progress + patience and step != self.steps:
            return Line("detail", ", ".join(words))
        self._progress = t
        return Line("info", ", ".join(words))

    def _tell_phase(self, t: float, fields: Mapping[str, Any]) -> Line:
        if fields["step"] == self.steps + 1 and fields["phase"] == "COMMIT" and not self._closing:
            self._closing = True
            text = f"all {self.steps} updates are made; closing steps look at the last one's gradients"
            return Line("info", text)
        return Line("detail", f"{self._place(fields)}: {fields['phase']}")

    def _tell_certified(self, t: float, fields: Mapping[str, Any]) -> Line:
        return Line("detail", f"{self._place(fields)} is certified by all")

    def _tell_drifted(self, t: float, fields: Mapping[str, Any]) -> Line:
        whose = self.names.list(fields["peers"])
        return Line(
            "warning",
            f"{self._place(fields)}: the model of {whose} is not the one that a majority holds (bad memory, or "
            "another numerics class?): it is replaced, without a contribution in this step",
        )

    def _tell_awaiting(self, t: float, fields: Mapping[str, Any]) -> Line:
        place = f"{self._place(fields)}, {fields['phase']}"
        if not fields["missing"]:
            return Line("info", f"{place}: agreeing on who is out takes its time, {fields['seconds']:.0f} s")
        whom = self.names.list(fields["missing"], fields["reasons"])
        return Line("warning", f"{place}: waiting for {whom}, {fields['seconds']:.0f} s")

    def _tell_last(self, t: float, fields: Mapping[str, Any]) -> Line:
        whose, seconds = self.names.of(fields["peer"]), fields["seconds"]
        return Line(
            "warning",
            f"{self._place(fields)}: {whose} is the last by far, {fields['times']} times by now: its "
            f"{fields['phase']} came {seconds:.3g} s after all others'",
        )

    def _tell_link(self, t: float, fields: Mapping[str, Any]) -> Line:
        peer, name = fields["peer"], self.names.of(fields["peer"])
        # Before the start and after the end, links come and go with the processes.
        quiet = not self._started or self._finished
        if not fields["up"]:
            self._down.add(peer)
            return Line("detail" if quiet else "warning", f"the link to {name} is down")
        again = peer in self._down
        self._down.discard(peer)
        return Line("info" if again and not quiet else "detail", f"the link to {name} is up{' again' * again}")

    # -- cheats and failures ----------------------------------------------------------------------------

    def _tell_accused(self, t: float, fields: Mapping[str, Any]) -> Line:
        who, whom = self.names.of(fields["accuser"]), self.names.of(fields["accused"])
        return Line(
            "warning", f"{self._place(fields)}: {who} accuses {whom} ({fields['reason']}); all peers judge it"
        )

    def _tell_expelled(self, t: float, fields: Mapping[str, Any]) -> Line:
        verb = "banned" if fields["kind"] == "ban" else "removed"
        why = f"{self.names.put(fields['reason'])} ({fields['rule']})"
        if fields["applied"]:
            why += f"; the update of step {fields['applied']} holds its part"
            self._late.append(f"{self.names.of(fields['peer'])} in step {fields['applied']}")
        return Line("error", f"{self._place(fields)}: {self.names.of(fields['peer'])} is {verb}: {why}")

    def _tell_roster(self, t: float, fields: Mapping[str, Any]) -> Line:
        return Line("info", f"members from now on: {self.names.list(fields['roster'])}")

    def _tell_rejected(self, t: float, fields: Mapping[str, Any]) -> Line:
        return self._complaint("sent what breaks the rules", fields)

    def _tell_garbage(self, t: float, fields: Mapping[str, Any]) -> Line:
        return self._complaint("sent garbage", fields)

    def _tell_again(self, t: float, fields: Mapping[str, Any]) -> Line:
        return self._complaint("is there twice", fields)

    def _complaint(self, what: str, fields: Mapping[str, Any]) -> Line:
        times = f", {fields['times']} times by now" if fields["times"] > 1 else ""
        reason = self.names.put(fields["reason"])
        return Line("warning", f"{self.names.of(fields['peer'])} {what}: {reason}{times}")

    def _tell_halted(self, t: float, fields: Mapping[str, Any]) -> Line:
        words = f"halted: {self.names.put(fields['reason'])}; it asks the others meanwhile"
        if not fields["held"]:  # else the reason says what to do
            words += f", and goes on by itself when they are back; {self.status} says more"
        return Line("error", words)

    def _tell_resumed(self, t: float, fields: Mapping[str, Any]) -> Line:
        whom = self.names.list(fields["without"])
        return Line("warning", f"{self._place(fields)}: resumed; it goes on without {whom} once a majority is")

    def _tell_error(self, t: float, fields: Mapping[str, Any]) -> Line:
        return Line("error", self.names.put(fields["reason"]))

    # -- the end ----------------------------------------------------------------------------------------

    def _tell_finished(self, t: float, fields: Mapping[str, Any]) -> Line:
        self._finished = True
        words = f"all {self.steps} steps are done; the state is {fields['digest'][:16]} at every peer"
        if self._late:
            words += f"; what it holds of the banned: {', '.join(self._late)}"
        return Line("info", words)

    def _tell_finished_before(self, t: float, fields: Mapping[str, Any]) -> Line:
        return Line(
            "info",
            f"this run is finished here already: the model is in {fields['path']}, nothing is left to do",
        )

    def _tell_saved(self, t: float, fields: Mapping[str, Any]) -> Line:
        return Line("info", f"the model is in {fields['path']}")

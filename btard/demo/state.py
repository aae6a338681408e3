"""What is known about one run while it goes on, folded from what its peers report."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from attrs import Factory, define, field

from btard.attacks.names import AttackSpec
from btard.demo.events import Event, Expulsion, Summary
from btard.demo.plan import Plan, Variant


@define(eq=False)
class Member:
    """One peer of the run, as its own reports show it."""

    index: int
    attack: AttackSpec | None
    step: int = 0
    phase: str = ""
    doing: str = "starting"
    loss: float = math.nan
    accuracy: float = math.nan
    expelled: dict[int, Expulsion] = field(factory=dict)  # who, in its view
    failure: str | None = None
    summary: Summary | None = None
    exit_status: int | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return f"peer-{self.index}"

    @property
    def role(self) -> str:
        """honest, or its attack and when that begins."""
        return "honest" if self.attack is None else f"{self.attack.name} from {self.attack.from_step}"


@define(eq=False)
class RunState:
    """One run: feed it with `apply` and `exited`; everything else is for reading."""

    plan: Plan
    variant: Variant
    number: int  # of this run, from 1
    runs: int
    members: list[Member]
    began: float  # seconds on a monotonic clock, as `now` is everywhere
    now: float
    moved: float = field(default=Factory(lambda self: self.began, takes_self=True))  # last sign of life
    training_since: float | None = None
    epoch: int = 0
    roster: tuple[int, ...] = ()
    expelled: dict[int, Expulsion] = field(factory=dict)  # as the first honest peer said
    accuracies: list[tuple[int, float]] = field(factory=list)
    losses: list[tuple[int, float]] = field(factory=list)  # mean over honest peers
    troubles: list[str] = field(factory=list)  # one of a kind
    _troubles_seen: set[str] = field(factory=set, init=False)
    _loss_reports: dict[int, list[float]] = field(factory=dict, init=False)

    @classmethod
    def begin(cls, plan: Plan, variant: Variant, number: int, runs: int, now: float) -> RunState:
        """Return a run of which nothing has been heard yet."""
        attacks = plan.attacks if variant.attacked else {}
        members = [Member(index, attacks.get(index)) for index in range(plan.peers)]
        return cls(plan, variant, number, runs, members, now, now, roster=tuple(range(plan.peers)))

    @property
    def honest(self) -> Sequence[Member]:
        """The members that do not cheat in this run."""
        return [member for member in self.members if member.attack is None]

    @property
    def step(self) -> int:
        """The last step that an honest peer has applied."""
        return max(member.step for member in self.honest)

    @property
    def accuracy(self) -> float:
        """The last test accuracy; NaN before the first."""
        return self.accuracies[-1][1] if self.accuracies else math.nan

    @property
    def loss(self) -> float:
        """The last training loss, a mean over honest peers; NaN before the first."""
        return self.losses[-1][1] if self.losses else math.nan

    @property
    def seconds_left(self) -> float | None:
        """How long the run may still take at its mean speed; None where that cannot be told yet."""
        if self.training_since is None or self.step < 3:
            return None
        return (self.now - self.training_since) / self.step * (self.plan.steps - self.step)

    def apply(self, index: int, event: Event) -> None:
        """Take in what peer ``index`` reports; raises EventError where that makes no sense."""
        member = self.members[index]
        match event.name:
            case "waiting":
                missing = ", ".join(str(peer) for peer in event.integers("missing")[:4])
                member.doing = f"waiting for {missing}"
            case "started":
                member.doing = "training"
                self.training_since = self.training_since or self.now
            case "phase":
                member.phase = event.text("phase")
            case "progress":
                self._progress(member, event)
            case "roster":
                self._roster(member, event)
            case "expelled":
                self._expelled(member, Expulsion.read(event.values))
            case "accused":
                self._accused(member, event)
            case "finished":
                member.doing, member.phase = "finished", ""
            case "mismatch" | "error" | "halted" | "stopped":
                self._trouble(member, event.text("reason"), ends=event.name == "stopped")
            case "summary":
                member.summary = Summary.read(event)
                member.failure = member.summary.failure

    def exited(self, index: int, status: int) -> None:
        """Note that the process of peer ``index`` has ended."""
        member = self.members[index]
        member.exit_status, member.phase = status, ""
        if member.summary is None:
            member.failure = f"its process ended with status {status}"
            member.doing = "died"

    def _progress(self, member: Member, event: Event) -> None:
        member.step, member.doing = event.integer("step"), "training"
        loss, accuracy = event.number("loss"), event.number("accuracy")
        if loss is not None:
            member.loss = loss
        if accuracy is not None:
            member.accuracy = accuracy
        if member.attack is not None:
            return
        if loss is not None:
            self._note_loss(member.step, loss)
        if accuracy is not None and (not self.accuracies or member.step > self.accuracies[-1][0]):
            self.accuracies.append((member.step, accuracy))

    def _note_loss(self, step: int, loss: float) -> None:
        seen = self._loss_reports.setdefault(step, [])
        seen.append(loss)
        mean = sum(seen) / len(seen)
        if self.losses and self.losses[-1][0] == step:
            self.losses[-1] = (step, mean)
        elif not self.losses or step > self.losses[-1][0]:
            self.losses.append((step, mean))

    def _roster(self, member: Member, event: Event) -> None:
        epoch = event.integer("epoch")
        if member.attack is None and epoch > self.epoch:
            self.epoch, self.roster = epoch, event.integers("roster")

    def _accused(self, member: Member, event: Event) -> None:
        accused = event.integer("accused")
        if member.attack is None and 0 <= accused < len(self.members):
            self.members[accused].doing = f"accused by {event.integer('accuser')}"

    def _expelled(self, member: Member, expulsion: Expulsion) -> None:
        if not 0 <= expulsion.peer < len(self.members):
            return
        for seen in (member.expelled, self.expelled) if member.attack is None else (member.expelled,):
            # who fell silent is removed first, and may be banned by a report (spec VER-19)
            if expulsion.peer not in seen or expulsion.kind == "ban":
                seen[expulsion.peer] = expulsion

    def _trouble(self, member: Member, reason: str, ends: bool) -> None:
        if ends:
            member.failure, member.doing, member.phase = reason, "stopped", ""
        # all peers may have the same trouble in every step; and a banned peer's is none of the run's
        kind = re.sub(r"\d+", "", reason)
        if member.attack is None and member.index not in self.expelled and kind not in self._troubles_seen:
            self._troubles_seen.add(kind)
            self.troubles.append(f"{member.name}: {reason}")

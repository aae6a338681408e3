"""Whether what judges computed from follows from what the members signed (spec OPS-14)."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from btard.ledger.book import Book
from btard.ledger.entry import Judgement
from btard.statemachine.checks import norm_slice, part_slice
from btard.statemachine.compute import GradientCheck, PartCheck, ValidatorCheck
from btard.statemachine.election import assign_parts, gradient_seed
from btard.statemachine.evidence import signature_holds
from btard.statemachine.messages import Accuse, Body, Commit, Reduce, Reveal, Validate
from btard.statemachine.randomness import Purpose, combine

_Body = TypeVar("_Body", Commit, Reduce, Reveal, Validate, Accuse)


class NotHereError(Exception):
    """A signed message that the ledger does not hold."""


class Transcript:
    """The signed messages of a judgement, by what they are; a false signature makes one count for nothing."""

    def __init__(self, book: Book, judgement: Judgement) -> None:
        self.book = book
        self._bodies: dict[tuple[int, int, type, int], Body] = {}
        for envelope in judgement.envelopes:
            message = envelope.message
            if message is not None and signature_holds(book.config, envelope):
                step = getattr(message.body, "step", -1)
                self._bodies[message.epoch, step, type(message.body), envelope.author] = message.body

    def body(self, kind: type[_Body], epoch: int, step: int, author: int) -> _Body:
        """Return a message. Raises NotHereError."""
        found = self._bodies.get((epoch, step, kind, author))
        if not isinstance(found, kind):
            raise NotHereError(f"{kind.kind.upper()} of peer {author} in step {step}")
        return found

    def epoch_of(self, kind: type[_Body], step: int) -> int:
        """Return the epoch in which a step was certified."""
        epochs = [epoch for epoch, at, what, _ in self._bodies if (at, what) == (step, kind)]
        if not epochs or max(epochs) >= len(self.book.rosters):
            raise NotHereError(f"{kind.kind.upper()} of step {step}")
        return max(epochs)

    def roster(self, epoch: int) -> tuple[int, ...]:
        """Return the members of an epoch."""
        if epoch >= len(self.book.rosters):
            raise NotHereError(f"the record that began epoch {epoch}")
        return self.book.rosters[epoch]

    def election_value(self, step: int) -> bytes:
        """Return what the members opened at the end of a certified step (spec RND-4)."""
        epoch = self.epoch_of(Accuse, step)
        values = [self.body(Accuse, epoch, step, peer).value for peer in self.roster(epoch)]
        return combine(self.book.config.run, epoch, step, Purpose.ELECTION, values)

    def sketch_value(self, epoch: int, step: int) -> bytes:
        """Return what the members opened in REVEAL."""
        values = [self.body(Reveal, epoch, step, peer).value for peer in self.roster(epoch)]
        return combine(self.book.config.run, epoch, step, Purpose.SKETCH, values)

    def aggregators(self, epoch: int, step: int) -> tuple[int, ...]:
        """Return whose the parts of a step are (spec ELE-2)."""
        value = self.election_value(step - 1)
        return assign_parts(self.book.config.run, value, epoch, step, self.roster(epoch))

    def contributors(self, epoch: int, step: int) -> tuple[int, ...]:
        """Return who contributed: whoever committed to parts, at the model that most hold (spec STP-12)."""
        commits = {peer: self.body(Commit, epoch, step, peer) for peer in self.roster(epoch)}
        model = Counter(commit.model for commit in commits.values()).most_common(1)[0][0]
        return tuple(peer for peer, commit in commits.items() if commit.parts and commit.model == model)


def does_not_follow(book: Book, judgement: Judgement) -> str | None:
    """Say what the signed messages contradict; None if nothing. Raises NotHereError where some are missing."""
    transcript, request = Transcript(book, judgement), judgement.request
    match request.check:
        case PartCheck() as check:
            fits = request.claim.part == check.part
            return (
                None if fits and _part(transcript, request.epoch, request.step, check) else "the part's numbers"
            )
        case GradientCheck() as check:
            fits = request.claim.accused == check.work.peer
            return None if fits and _gradient(transcript, check) else "the target's numbers"
        case ValidatorCheck() as check:
            fits = request.claim.accused == check.validator and request.claim.part == check.part
            right = fits and _validator(transcript, request.epoch, request.step, check)
            return None if right and _gradient(transcript, check.target) else "the validator's numbers"


def _part(transcript: Transcript, epoch: int, step: int, check: PartCheck) -> bool:
    part, roster = check.part, transcript.roster(epoch)
    if check.parts != len(roster) or not part < check.parts:
        return False
    contributors = transcript.contributors(epoch, step)
    scalars = [transcript.body(Validate, epoch, step, peer) for peer in contributors]
    return check == PartCheck(
        part=part,
        parts=len(roster),
        aggregator=transcript.aggregators(epoch, step)[part],
        aggregate=transcript.body(Reduce, epoch, step, check.aggregator).aggregate,
        contributors=contributors,
        objects=tuple(transcript.body(Commit, epoch, step, peer).parts[part] for peer in contributors),
        sketch_value=transcript.sketch_value(epoch, step),
        sketches=tuple(part_slice(body.sketches, part) for body in scalars),
        norms=tuple(norm_slice(body.norms, part) for body in scalars),
    )


def _gradient(transcript: Transcript, check: GradientCheck) -> bool:
    work = check.work
    epoch = transcript.epoch_of(Accuse, work.step)
    aggregators = transcript.aggregators(epoch, work.step)
    seed = gradient_seed(
        transcript.book.config.run, transcript.election_value(work.step - 1), work.step, work.peer
    )
    scalars = transcript.body(Validate, epoch, work.step, work.peer)
    aggregates = tuple(transcript.body(Reduce, epoch, work.step, peer).aggregate for peer in aggregators)
    return (
        (work.seed, work.parts, check.aggregators) == (seed, len(aggregators), aggregators)
        and check.committed == transcript.body(Commit, epoch, work.step, work.peer).parts
        and check.aggregates == aggregates
        and check.sketch_value == transcript.sketch_value(epoch, work.step)
        and (check.sketches, check.norms) == (scalars.sketches, scalars.norms)
    )


def _validator(transcript: Transcript, epoch: int, step: int, check: ValidatorCheck) -> bool:
    scalars = transcript.body(Validate, epoch, step, check.validator)
    return (
        check.sketch_value == transcript.sketch_value(epoch, step)
        and check.sketch == part_slice(scalars.sketches, check.part)
        and check.norm == norm_slice(scalars.norms, check.part)
        and check.parts == check.target.work.parts
    )

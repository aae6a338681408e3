"""A peer's status in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from btard.node.status_file import Status, StatusError
from btard.node.words import MAX_NAMES, Names

SILENT_SECONDS: Final = 10.0  # after which a status of a running peer is old
WAIT_SECONDS: Final = 2.0  # in a phase until that is worth a word
_WIDTH: Final = 10


def lines(status: Status) -> list[str]:
    """Return the lines. Raises StatusError where the file holds what no peer writes."""
    try:
        return [f"{label:{_WIDTH}}{text}" for label, text in _rows(status)]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StatusError(f"the status file holds what no peer writes ({error!r:.100})") from None


def _rows(status: Status) -> Iterator[tuple[str, str]]:
    values = status.values
    names = Names(values["names"])
    yield names.of(values["peer"]), _stage(status)
    yield "run", f"{values['run']} ({values['run_id'][:8]})"
    yield "step", _step(values)
    yield "members", names.list(values["roster"])
    if status.running:
        yield from _now(values, names, status.age)
    for gone in values["expelled"]:
        verb = "banned" if gone["kind"] == "ban" else "removed"
        why = f"{names.put(gone['reason'])} ({gone['rule']})"
        yield verb, f"{names.of(gone['peer'])} in step {gone['step']}: {why}"
    yield from _delays(values, names)
    if figures := list(_figures(values)):
        yield "model", ", ".join(figures)
    sent = values["bytes"]
    yield "sent", f"{_size(sent['bulk'])} of vectors, {_size(sent['control'])} of messages"


def _stage(status: Status) -> str:
    values, reason = status.values, status.values["reason"]
    match values["stage"]:
        case "finished":
            return "has finished"
        case "interrupted":
            return "was interrupted (Ctrl-C)"
        case "stopped":
            return f"has stopped: {reason}"
        case _ if not status.running:
            return "is not running any more and did not say why: it was killed, or the machine went down"
        case stage if status.age > SILENT_SECONDS:
            return f"is {stage}, but has said nothing for {status.age:.0f} s: the process hangs or is suspended"
        case "running" if values["halted"]:
            return f"is halted: {Names(values['names']).put(values['halted'])}"
        case stage:
            return "is waiting for the others before the start" if stage == "waiting" else "is running"


def _step(values: Mapping[str, Any]) -> str:
    words = [f"{values['step']} of {values['steps']}"]
    if values["closing_step"]:
        words[0] += f", closing step {values['closing_step']}"
    if values["stage"] == "running":
        words[0] += f", {values['phase']}"
    if values["epoch"]:
        words.append(f"epoch {values['epoch']}")
    if values["pace"] and values["stage"] == "running":
        words.append(f"{values['pace']:.0f} steps a minute")
    return ", ".join(words)


def _now(values: Mapping[str, Any], names: Names, age: float) -> Iterator[tuple[str, str]]:
    seconds = values["seconds"] + age
    if values["awaited"] and seconds >= WAIT_SECONDS:
        whom = names.list(values["awaited"], values["reasons"])
        yield "waits for", f"{whom}, for {seconds:.0f} s"
    if values["halted"] and not values["held"] and values["awaited"]:
        yield "to do", "repair links and machines, and it goes on by itself; or see btard resume --help"
    for author, out in values["gave_up"] if values["halted"] else ():
        yield "gave up", f"{names.of(author)} goes on without {names.list(out)}, once enough others do"
    down = [peer for peer in values["links_down"] if peer not in values["awaited"]]
    if down:
        yield "no link", names.list(down)
    for claim in values["claims"]:
        who, whom = names.of(claim["accuser"]), names.of(claim["accused"])
        yield "judges", f"{who} accuses {whom}: {claim['kind']} claim, part {claim['part']}"


def _delays(values: Mapping[str, Any], names: Names) -> Iterator[tuple[str, str]]:
    """Say how long the slowest members' messages take (spec OPS-16)."""
    known = [entry for entry in values["delays"] if entry["peer"] in values["roster"]]
    known.sort(key=lambda entry: -sum(median for median, _ in entry["phases"].values()))
    for entry in known[:MAX_NAMES]:
        phases = (f"{phase} {median:.3g} s ({most:.3g})" for phase, (median, most) in entry["phases"].items())
        lates = f"; LATE {entry['lates']} times" if entry["lates"] else ""
        yield "delays", f"{names.of(entry['peer'])}: {', '.join(phases)}{lates}"


def _figures(values: Mapping[str, Any]) -> Iterator[str]:
    for name in ("loss", "accuracy"):
        if values[name] is not None:
            step, value = values[name]
            yield f"{name} {value:.4g} (step {step})"


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"

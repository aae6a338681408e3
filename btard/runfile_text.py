"""How a genesis is written as a run file: every value with a comment that teaches what it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from attrs import asdict

from btard.genesis import PeerEntry, RunFile

FORMAT: Final = 1
_WIDTH: Final = 110

_HEAD: Final = """\
Run file of btard: everything that all peers of one run must share.
Its values hash to the run id, which every message carries, so all peers must hold the same values;
comments and white space do not count. Before you start a peer: btard check --run THIS_FILE --key YOUR_KEY
"""
_TOP: Final = {
    "name": "what people call this run",
    "seed": "32 bytes in hex; fixes the initial model and the first minibatches",
    "evaluate_every": "steps between two evaluations on the test data",
    "numerics": "exact: equal torch and hardware everywhere, so equal gradients; tolerant: they may differ",
    "bulk_security": "curve encrypts bulk vectors too; digest only checks their hashes, which is faster",
}

_TASK_HEAD: Final = "What is trained. A peer whose model or data has another digest does not start."
_TASK: Final = {
    "name": "a built-in task, or FILE.py:NAME for your own, found from the folder of this run file",
    "model_digest": "identity of the initial parameters",
    "data_digest": "identity of the training and test data",
}
_OPTIONS_HEAD: Final = "The task's own settings."

_PARAMETERS_HEAD: Final = "What the protocol computes with."
_PARAMETERS: Final = {
    "steps": "training steps",
    "dimension": "number of float32 parameters of the model",
    "tau": "CenteredClip's radius per part: what is farther off pulls no harder; inf is the plain mean",
    "validators": "peers that at each step recompute another's last gradient in place of sending their own",
    "f_max": "Byzantine or crashed peers that the run is meant to bear; peers - validators > 2 f_max",
    "gradient_clip": "a peer scales a longer gradient down to this length; inf leaves all as they are",
    "gradient_rtol": "relative difference that a recomputed gradient may show; it is what a cheat can hide",
    "alarm_factor": "a part is checked in full if most norms exceed this many times the typical one",
    "late_brake": "members that lateness alone may cost from step to step, 0..f_max; else: see btard resume",
    "window": "steps in which a false alarm excuses its aggregator from another like it",
    "late_limit": "a majority saw a peer late in so many of the last `window` steps: it is removed; 0: never",
}

_TIMING_HEAD: Final = """\
Times in milliseconds. Those from delta to c_publish you choose: upper bounds on the network's delays and on
the time that the slowest honest peer takes for each phase. The rest must be large enough for them, or honest
peers would be removed as late; btard init works them out and btard check verifies them.
"""
_TIMING: Final = {
    "delta": "delay of a control message, queueing and verification included",
    "delta_bulk": "delay of all bulk vectors of a phase",
    "pull_grace": "how long to wait for what is under way before asking for it",
    "drift_ppm": "how far clocks may run apart, in millionths",
    "c_commit": "compute: apply the last step, own gradient, validation",
    "c_aggregate": "compute: CenteredClip on one's part",
    "c_reveal": "compute: check the aggregates and open the shared random value",
    "c_validate": "compute: sketches and norms",
    "c_accuse": "compute: verifications 1 to 3",
    "c_judge": "compute: recompute what a claim is about, twice",
    "c_publish": "compute: publish the disputed parts",
    "w_bulk": "own wait for the parts that one aggregates",
    "t_commit": "time-out of COMMIT",
    "t_reduce": "time-out of REDUCE",
    "t_reveal": "time-out of REVEAL",
    "t_validate": "time-out of VALIDATE",
    "t_accuse": "time-out of ACCUSE",
    "t_accuse_disputed": "time-out of ACCUSE where parts are disputed",
    "t_publish": "time-out of a published part",
    "t_judge": "time-out of a judgement",
    "t_judge_disputed": "time-out of a judgement where parts are disputed",
}

_PEERS_HEAD: Final = """\
The roster: one entry for each peer, as its owner got it from btard keygen. The order counts.
"""


def dump(run: RunFile) -> str:
    """Return a run file's text, such that `load` gives an equal run; the run must have no problems."""
    return "\n".join(
        [
            *_comment(_HEAD),
            f"format = {FORMAT}",
            *_lines({name: getattr(run, name) for name in _TOP}, _TOP),
            "",
            *_comment(_TASK_HEAD),
            "[task]",
            *_lines({name: getattr(run.task, name) for name in _TASK}, _TASK),
            "",
            *_comment(_OPTIONS_HEAD),
            "[task.options]",
            *_lines(dict(sorted(run.task.options.items())), {}),
            "",
            *_comment(_PARAMETERS_HEAD),
            "[parameters]",
            *_lines(asdict(run.parameters), _PARAMETERS),
            "",
            *_comment(_TIMING_HEAD),
            "[timing]",
            *_lines(asdict(run.timing), _TIMING),
            "",
            *_comment(_PEERS_HEAD),
            "\n".join(map(dump_peer, run.peers)),
        ]
    )


def dump_peer(peer: PeerEntry) -> str:
    """Return one peer of a roster as TOML, the form in which `btard keygen` hands it out."""
    return "\n".join(["[[peers]]", *_lines(asdict(peer), {}), ""])


def _lines(values: Mapping[str, object], comments: Mapping[str, str]) -> list[str]:
    """Return a line for each value, its comment behind it or, where that gets too long, before it."""
    lines = []
    for name, value in values.items():
        line, comment = f"{name} = {toml(value)}", comments.get(name, "")
        commented = f"{line}  # {comment}" if comment else line
        lines += [commented] if len(commented) <= _WIDTH else [f"# {comment}", line]
    return lines


def toml(value: object) -> str:
    """Return a value as TOML; bytes as hex digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return f'"{value.hex()}"'
    # JSON's escapes are TOML's as long as every character stands for itself
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _comment(text: str) -> list[str]:
    return [f"# {line}".rstrip() for line in text.splitlines()]

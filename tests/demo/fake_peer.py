"""Speaks like `btard peer --json`, but trains nothing: what it does is told in a JSON object.

    fake_peer.py PLAY --run RUN.toml --out DIR/peer-N [--attack ...]

PLAY may hold: expel, a list of [step, peer, rule, kind]; die_at and stall_at, {peer: step}; deaf, true for
peers that ignore SIGINT and SIGTERM; digests, {peer: digest}; failures, {peer: reason}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import tomllib
from pathlib import Path


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, "t": time.monotonic(), **fields}), flush=True)


def main() -> int:
    play = json.loads(sys.argv[1])
    words = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    run, out = tomllib.loads(Path(words["--run"]).read_text()), Path(words["--out"])
    me = out.name.removeprefix("peer-")
    out.mkdir()
    (out / "pid").write_text(str(os.getpid()))
    (out / "environment").write_text("\n".join(f"{name}={value}" for name, value in os.environ.items()))
    if play.get("deaf"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("started", step=0)
    return train(play, me, out, run["parameters"]["steps"], run["evaluate_every"])


def train(play: dict, me: str, out: Path, steps: int, every: int) -> int:
    gone, accuracies, reached = [], [], steps
    failure = play.get("failures", {}).get(me)
    for step in range(1, steps + 1):
        if play.get("die_at", {}).get(me) == step:
            print("a line that is no event")
            sys.stdout.flush()
            sys.exit("out of memory\nkilled by nobody")
        while play.get("stall_at", {}).get(me) == step:
            signal.pause()
        for at, peer, rule, kind in play.get("expel", []):
            if at == step:
                why = {"reason": f"broke {rule}", "applied": 0}
                gone.append({"peer": peer, "step": at, "rule": rule, "kind": kind, **why})
                say("expelled", **gone[-1])
                say("roster", epoch=len(gone), roster=[])
        say("phase", epoch=len(gone), step=step, phase="COMMIT")
        if any(str(expulsion["peer"]) == me for expulsion in gone):
            failure, reached = "the others can prove a fault", step - 1
            say("stopped", reason=failure)
            break
        loss = {"loss": 2.0 / step}
        if step % every == 0 or step == steps:
            accuracies.append([step, 1 - 1 / (1 + step)])
            loss["accuracy"] = accuracies[-1][1]
        say("progress", step=step, **loss)
    return end(play, me, out, failure, reached, gone, accuracies)


def end(play: dict, me: str, out: Path, failure: str | None, steps: int, gone: list, accuracies: list) -> int:
    digest = None if failure else play.get("digests", {}).get(me, "ab" * 32)
    if digest is not None:
        (out / "model.safetensors").write_bytes(b"the model of " + me.encode())
        say("finished", digest=digest)
    sent = {"bulk": 1000 * steps, "control": 10 * steps * (1 + int(me))}
    say(
        "summary",
        digest=digest,
        steps=steps,
        rounds=steps,
        failure=failure,
        bytes=sent,
        expelled=gone,
        accuracies=accuracies,
        losses=[],
    )
    return int(failure is not None)


if __name__ == "__main__":
    sys.exit(main())

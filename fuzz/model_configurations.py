"""What is searched: models, constants, and whether all invariants must hold (spec/model/README.md)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen


@frozen
class Configuration:
    """A model of spec/model/ with some constants set, and what must come of its search."""

    name: str
    model: str
    constants: Mapping[str, str]
    holds: bool
    why: str

    def also(self, constants: Mapping[str, str]) -> Configuration:
        """Return the same with more constants set."""
        return evolve(self, constants={**self.constants, **constants})


def _base(name: str, model: str, why: str, **constants: str) -> Configuration:
    return Configuration(name, model, constants, True, why)


def _ablation(model: str, rule: str, switch: str, **constants: str) -> Configuration:
    name = f"{model}-without-{switch.lower().replace('_', '-')}"
    return Configuration(name, model, {**constants, switch: "false"}, False, f"{rule} switched off")


_FIVE = {"H": "3", "B": "2", "SKEW": "0", "C": "0"}
_SETTLE_FIVE = {"H": "3", "B": "2", "BANS": "false", "STEPS": "false", "ANY_LENGTH": "false"}
_SILENT = {**_FIVE, "BYZ_VOTES": "false"}
_ALONE = {"B": "0"}  # nobody is Byzantine
_BRAKED_THREE = {"H": "2", "BRAKE": "0"}
_BANS_OF_FIVE = {"H": "4", "LATES": "false"}
_OPERATORS_OF_FIVE = {"H": "5", "B": "0", "STEPS": "false", "LATES": "false", "OPERATORS": "true"}
_AGREED = {"H": "3", "B": "0", "LATES": "false", "OPERATORS": "true", "AGREED": "true"}
_AGREED_OF_FIVE = {**_AGREED, "H": "5"}
_FALSE_NEED = {"ASKED": "false"}

BASE = (
    _base("late-5", "late", "n = 5, f = 2: LATE and pull where messages are withheld from some"),
    _base("settle-3", "settle", "n = 3, f = 1: SETTLE and ratification, two epochs, guilty, ban and commit"),
    _base("phases-3", "phases", "n = 3, f = 1: phases, pull, ENTER, LATE, freeze, the epoch after; C = 1"),
    _base("judging-3", "judging", "n = 3, f = 1: a claim between two parties, T_judge to the tick"),
    _base("judging-3-target", "judging", "n = 3: a claim with a target", VALIDATOR="true"),
    _base("judging-5", "judging", "n = 5, f = 2: both parties may be Byzantine, votes split", **_FIVE),
    _base("halt-4", "halt", "n = 4, f = 1, broken times: halting, asking, returning; the brake"),
    _base("halt-3-alone", "halt", "n = 3, none Byzantine, broken times: all go on once links work", **_ALONE),
    _base("halt-3-braked", "halt", "n = 3, f = 1, late_brake = 0: two epochs", EPOCHS="2", **_BRAKED_THREE),
    _base(
        "halt-4-agreed", "halt", "n = 4, nobody late: operators give up the same one", **{**_AGREED, "H": "4"}
    ),
    _base("halt-5-bans", "halt", "n = 5, one Byzantine, evidence that bans alone", **_BANS_OF_FIVE),
    _base("need-3", "need", "n = 3, f = 1: a part is withheld from its aggregator"),
    _base("need-3-false", "need", "n = 3, f = 1: a NEED for a part that was served", **_FALSE_NEED),
    _base("need-4-false", "need", "n = 4, f = 1: the same", H="3", **_FALSE_NEED),
)

ABLATIONS = (
    _ablation("settle", "AGR-12", "CERTIFICATE_IS_INPUT"),
    _ablation("settle", "AGR-13", "LENGTH_IN_TIME"),
    _ablation("settle", "AGR-14", "ENOUGH_ROUNDS"),
    _ablation("settle", "AGR-14", "OUTCOME_IS_APPLIED"),
    _ablation("settle", "AGR-14", "ROOM_TO_APPLY"),
    _ablation("settle", "AGR-12", "BAN_IS_A_CLASS"),
    _ablation("settle", "AGR-17", "CHAIN_FREEZES"),
    _ablation("settle", "AGR-17", "COMMIT_WAITS"),
    _ablation("settle", "AGR-15", "SIGNATURES_SENT_ON", **_SETTLE_FIVE, EPOCHS="1"),
    _ablation("settle", "AGR-16", "OLD_EVIDENCE_FREEZES", **_SETTLE_FIVE),
    _ablation("phases", "AGR-11", "FREEZE", C="0"),
    _ablation("phases", "AGR-12", "CERTIFICATE_IS_INPUT", C="0"),
    _ablation("phases", "AGR-3", "PREV_COMPARED", C="0"),
    _ablation("phases", "AGR-5", "PULL_AT_ONCE", C="0"),
    _ablation("late", "AGR-8", "LATE_ANSWERED"),
    _ablation("late", "AGR-8", "LATE_ANSWERED_LATER"),
    _ablation("late", "AGR-9", "QUORUM_IS_EVIDENCE"),
    _ablation("phases", "TIM-2", "TIME_IS_ENOUGH", C="0"),
    _ablation("phases", "AGR-14", "OUTCOME_IS_APPLIED", C="0"),
    _ablation("phases", "AGR-4", "NEXT_KEPT", C="0"),
    _ablation("phases", "AGR-5", "ENTER_SENT"),
    _ablation("phases", "TIM-5", "ENTERED_TIME_IS_ENOUGH"),
    _ablation("judging", "TIM-6", "TIME_IS_ENOUGH"),
    _ablation("judging", "AGR-8", "RELAYED"),
    _ablation("judging", "AGR-12", "EVIDENCE_SENT"),
    _ablation("judging", "VER-15", "NOVERDICT_SAID", **_SILENT),
    _ablation("judging", "AGR-9", "CULPRITS_COUNTED", ACCOMPLICE="true", **_SILENT),
    _ablation("halt", "AGR-15", "ALL_SIGN"),
    _ablation("halt", "AGR-15", "FIRST_COUNTS", **{**_AGREED_OF_FIVE, "STEPS": "false"}),
    _ablation("halt", "AGR-23", "SAME_STEP", **_ALONE),
    _ablation("halt", "AGR-23", "KNOWN_FIRST", **_ALONE),
    _ablation("halt", "AGR-23", "ALL_LISTED", **_AGREED_OF_FIVE),
    _ablation("halt", "AGR-27", "PROMISED"),
    _ablation("halt", "AGR-20", "CERTIFICATE_SENT", **_ALONE),
    _ablation("halt", "AGR-22", "APPLIED_ON_ENTRY", **_BANS_OF_FIVE),
    _ablation("halt", "AGR-22", "TAKEN_BACK", **_BANS_OF_FIVE),
    _ablation("halt", "AGR-15", "LEFT_IN_COUNT", **_BRAKED_THREE),
    _ablation("need", "STP-17", "PASSED_ON", **_FALSE_NEED),
    _ablation("need", "STP-17", "FROM_ENTRY", **_FALSE_NEED),
    _ablation("need", "STP-17", "KEPT", **_FALSE_NEED),
    _ablation("need", "STP-18", "ANSWERED_LATER", **_FALSE_NEED),
    _ablation("need", "STP-18", "TO_ALL", **_FALSE_NEED),
    _ablation("need", "STP-19", "LATE_SAID"),
    _ablation("need", "AGR-8", "SERVED"),
    _ablation("need", "TIM-3", "BULK_TIME_IS_ENOUGH"),
    _ablation("need", "TIM-3", "PUBLISH_TIME_IS_ENOUGH", **_FALSE_NEED),
    _ablation("need", "TIM-4", "REDUCE_TIME_IS_ENOUGH"),
    Configuration(
        "halt-3-bridged",
        "halt",
        {**_BRAKED_THREE, "BRAKE": "1"},
        False,
        "n = 3: a Byzantine peer bridges a partition, and the brake bears it: a fork",
    ),
    Configuration(
        "halt-3-given-up",
        "halt",
        {**_BRAKED_THREE, "OPERATORS": "true"},
        False,
        "n = 3: the brake held, and the operators of both sides give up the other: a fork",
    ),
    Configuration(
        "judging-target-accuser-removed",
        "judging",
        {**_SILENT, "VALIDATOR": "true", "REMOVES_ACCUSED": "false"},
        False,
        "a NOVERDICT on a claim with a target removes its accuser: an honest one",
    ),
    Configuration(
        "judging-target-accused-removed",
        "judging",
        {**_SILENT, "VALIDATOR": "true", "REMOVES_ACCUSER": "false"},
        False,
        "a NOVERDICT on a claim with a target removes the accused: an honest one",
    ),
)

LONG = (
    _base("settle-4", "settle", "n = 4, f = 1, one epoch", H="3", EPOCHS="1", BANS="false"),
    _base("phases-3-three", "phases", "n = 3, three phases to a step", STEP="3"),
    _base("judging-4", "judging", "n = 4, f = 1", H="3"),
    _base("judging-5-accomplice", "judging", "n = 5, an accomplice", ACCOMPLICE="true", **_FIVE),
    _base("judging-5-timed", "judging", "n = 5, T_judge to the tick", H="3", B="2"),
    _base(
        "halt-3-operators",
        "halt",
        "n = 3, none Byzantine: operators give somebody up",
        **_ALONE,
        OPERATORS="true",
    ),
    _base("halt-5-operators", "halt", "n = 5, none Byzantine, nobody late: the same", **_OPERATORS_OF_FIVE),
    _base("halt-5-agreed", "halt", "n = 5, nobody late: operators give up the same one", **_AGREED_OF_FIVE),
    _base(
        "halt-5-agreed-bridged",
        "halt",
        "n = 5, one Byzantine, no evidence: operators give up the same one",
        **{**_AGREED, "H": "4", "B": "1", "PROOF": "false"},
    ),
    _base("need-4", "need", "n = 4, f = 1: a part is withheld from its aggregator", H="3"),
)
"""Larger searches that were carried through to the end."""

UNFINISHED = (
    _base("settle-4-two-epochs", "settle", "n = 4, f = 1, two epochs, bans", H="3"),
    _base(
        "settle-5",
        "settle",
        "n = 5, f = 2, chains alone",
        H="3",
        B="2",
        EPOCHS="1",
        BANS="false",
        STEPS="false",
    ),
    _base(
        "settle-5-two-epochs", "settle", "n = 5, f = 2, two epochs", H="3", B="2", BANS="false", STEPS="false"
    ),
    _base("settle-5-shortest", "settle", "n = 5, f = 2, two epochs, shortest chains", **_SETTLE_FIVE),
    _base(
        "phases-3-any-message", "phases", "n = 3, messages ahead and askew", C="0", AHEAD="true", ASKEW="true"
    ),
    _base("phases-4", "phases", "n = 4, f = 1", H="3", C="0"),
    _base("halt-4-operators", "halt", "n = 4, f = 1: and operators give somebody up", OPERATORS="true"),
)
"""Searches that nobody has carried through to the end: they show nothing but that no failure came early."""

"""The parameters of the notebook that trains arms (06), and the names of all arms."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, model_validator

from auxlearn.methods.autosem.options import AutosemArm
from auxlearn.methods.gradts.options import GradTSArm
from auxlearn.methods.tawt.options import BY_SCORE, WEIGHINGS, WEIGHT_FIELDS, WeighedArm

# Arms that read a ranking are RULE_DISCRIMINATOR: td (the n best), quota (the best of each task, in proportion to its
# size), calibrated (scores standardised a task), and the controls cie and matched, which replace the td rows by random
# ones of the same task, or of the same task, label and length.
ROWS = (
    "single", "step_matched", "random", "all_data",
    "td_bce", "td_ce", "quota_bce", "quota_ce", "calibrated_bce", "calibrated_ce",
    "cie_bce", "cie_ce", "matched_bce", "matched_ce",
    "gradts_thres", "gradts_trial", "gradts_fg", "gradts_proxy",
    "autosem_p1", "autosem",
)  # fmt: skip


def _arm(value: str) -> str:
    rows, plus, weighing = value.rpartition("+")
    weighted = weighing in WEIGHINGS and (not plus or (rows in ROWS and rows not in NO_ROWS))
    if weighted and WEIGHINGS[weighing][0] in BY_SCORE and rows not in SCORED[WEIGHINGS[weighing][0]]:
        raise ValueError(
            f"{value!r} is no arm: {weighing} needs rows with scores, as ROWS+{weighing} of "
            f"{', '.join(SCORED[WEIGHINGS[weighing][0]])}"
        )
    if value not in ROWS and not weighted:
        raise ValueError(
            f"{value!r} is no arm. Rows: {', '.join(ROWS)}. With weights, of all rows or as ROWS+WEIGHING: "
            f"{', '.join(WEIGHINGS)}"
        )
    return value


Arm = Annotated[str, AfterValidator(_arm)]
NO_ROWS = ("single", "step_matched")  # arms that add no rows
# Whose rows have scores of their own; and whose tasks have.
_RANKED = tuple(f"{rule}_{kind}" for rule in ("td", "quota", "calibrated") for kind in ("bce", "ce"))
SCORED = {"deciles": (*_RANKED, "gradts_fg"), "scored": (*_RANKED, *(r for r in ROWS if r.startswith("gradts_")))}
RULES = {"td": "global", "cie": "global", "matched": "global", "quota": "quota", "calibrated": "calibrated"}


def depends_on_n(arm: str) -> bool:
    """Say whether another n gives another training.

    It does not for `single`, nor where all rows are taken (`all_data` and weighings of all rows).

    Args:
        arm: Name of an arm, such as `td_bce` or `td_bce+tawt_joint`.

    Returns:
        Whether `n` enters the arm's training.
    """
    rows, plus, _ = arm.rpartition("+")
    return (rows if plus else arm) not in ("single", "all_data", *WEIGHINGS)


class MTL(WeighedArm, GradTSArm, AutosemArm):
    """Parameters of 06: one (primary, arm, n), trained once per seed of `seeds`.

    The first value of each switch is the corrected one.
    """

    stage = "06_mtl"

    arm: Arm = "td_bce"

    @model_validator(mode="after")
    def _weights_can_start(self) -> Self:
        told = self.told_weights()
        if self.weighing and WEIGHINGS[self.weighing][0] == "given" and self.primary not in told:
            raise ValueError(f"prior_given: {self.arm!r} starts at its weights; name {self.primary!r} and the sources")
        parts = self.weighing is not None and WEIGHINGS[self.weighing][0] == "deciles"
        if parts and (self.tawt_rule == "paper" or self.combine != "mixed"):
            raise ValueError(f"combine: {self.arm!r} weighs parts of a task: use combine mixed and tawt_rule corrected")
        return self

    @property
    def weighing(self) -> str | None:
        """How a weighted arm trains its rows (a name in `WEIGHINGS`); None for an arm without weights."""
        name = self.arm.rpartition("+")[2]
        return name if name in WEIGHINGS else None

    @property
    def rows_arm(self) -> str:
        """The arm whose rows this one trains: its own name without the weighing."""
        return self.arm if self.weighing is None else self.arm.rpartition("+")[0] or "all_data"

    def of_rows(self) -> Self:
        """Return the same parameters for the arm whose rows this one trains."""
        return self.model_copy(update={"arm": self.rows_arm})

    @property
    def needs_pool(self) -> bool:
        """Whether n rows are drawn from the pool."""
        return self.rows_arm not in (*NO_ROWS, "all_data")

    @property
    def gradts(self) -> bool:
        """Whether GradTS chooses the rows."""
        return self.rows_arm.startswith("gradts_")

    @property
    def autosem(self) -> bool:
        """Whether AUTOSEM chooses the rows."""
        return self.rows_arm in ("autosem_p1", "autosem")

    @property
    def searches(self) -> bool:
        """Whether the arm trains in order to choose; it then holds rows out whatever `choose` says."""
        return (
            self.autosem
            or self.rows_arm == "gradts_trial"
            or (self.rows_arm == "gradts_fg" and self.fg_tasks == "trial")
        )

    @property
    def discriminator(self) -> str | None:
        """The discriminator ("bce" or "ce") whose ranking the arm reads; None where it reads none."""
        rule, _, kind = self.rows_arm.partition("_")
        return kind if rule in RULES else None

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that the arm's result depends on; those that this arm does not use are left out."""
        unused = {"single_epochs"} if self.arm != "single" or self.steps else set()
        if self.steps:
            unused |= {"stage2_epochs", "tune_epochs"}
        unused |= set() if self.steps and self.arm != "single" else {"tune_steps"}
        if self.rows_arm == "single":
            unused |= {"n", "stage2_epochs", "tune_epochs"}
        if self.rows_arm in ("single", "step_matched"):
            unused |= {"auxiliaries", "mixing"}
        if self.rows_arm == "all_data":
            unused.add("n")
        if self.rows_arm != "all_data" or self.all_data_recipe == "same":
            unused.add("mtdnn_lr")
        if self.rows_arm != "all_data":
            unused.add("all_data_recipe")
        if self.weighing is None:
            unused |= WEIGHT_FIELDS
        else:
            evidence = WEIGHINGS[self.weighing][1]
            measured, moved = evidence in ("measured", "shuffled"), evidence not in ("fixed", "share", "final")
            unused |= set() if measured else {name for name in WEIGHT_FIELDS if name.startswith("probe_")}
            unused |= set() if moved else {name for name in WEIGHT_FIELDS if name.startswith("weight_")}
        paradigm = WEIGHINGS[self.weighing][0] if self.weighing else ""
        unused |= {"score_buckets"} if paradigm != "deciles" else set()
        unused |= {"score_temperature"} if paradigm != "scored" else set()
        unused |= {"prior_power"} if paradigm != "power" else set()
        unused |= {"prior_given"} if paradigm != "given" else set()
        if self.choose != "holdout" and not self.searches:
            unused.add("holdout")
        if not self.gradts:
            unused |= {"definition"}
        if not (self.gradts and self.searches):
            unused |= {"trial_rule", "trial_patience", "trial_most"}
        by_threshold = self.rows_arm in ("gradts_thres", "gradts_proxy")
        if not by_threshold and not (self.rows_arm == "gradts_fg" and self.fg_tasks == "thres"):
            unused.add("task_threshold")
        if self.rows_arm != "gradts_fg":
            unused |= {"fg_tasks", "fg_fraction"}
        if not self.autosem:
            unused |= {"autosem_rule", "bandit_rounds", "bandit_batches", "bandit_decay", "bandit_most"}
        if self.rows_arm != "autosem":
            unused |= {"ratio_trials", "ratio_highest"}
        return {k: v for k, v in super().key_params().items() if k not in unused}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the runs that the arm reads, as (stage, parameters that they must agree in).

        An arm with final weights reads 05, a GradTS arm 04, and an arm with a ranking one 03 per seed.
        """
        found = self._rows_need()
        if self.weighing and WEIGHINGS[self.weighing][1] == "final":
            paradigm = WEIGHINGS[self.weighing][0]
            fields = ["primary", "auxiliaries", "seeds", "lr", "batch_size", "loss_scale", "keep_leaks", "holdout"]
            fields.append("steps")
            if not self.steps:
                fields += ["stage2_epochs", "tune_epochs"]
            elif paradigm == "pretrain":
                fields += ["tune_steps"]
            wanted = self._shared(*fields, *sorted(WEIGHT_FIELDS)) | {"paradigm": paradigm}
            found.append(("05_tawt_weighting", wanted))
        return found

    def _rows_need(self) -> list[tuple[str, dict[str, Any]]]:
        if self.gradts:
            wanted = self._shared("seeds", "keep_leaks", "definition")
            return [("04_gradts_correlation", wanted | {"at": "proxy" if self.rows_arm == "gradts_proxy" else "task"})]
        if not self.discriminator:
            return []
        rule = RULES[self.rows_arm.partition("_")[0]]
        wanted = self._shared("primary", "auxiliaries", "n", "keep_leaks")
        wanted |= {"discriminator": self.discriminator, "rule": rule}
        return [("03_ranking", wanted | {"seed": seed}) for seed in self.seeds]

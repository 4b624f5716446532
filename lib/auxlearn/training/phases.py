"""What a training plan says: phases over one model, their rows, recipes and switches. Nothing here trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.models import encoder_files

if TYPE_CHECKING:
    from auxlearn.models import multitask


@dataclass(frozen=True)
class Recipe:
    """The optimiser and its schedule, by default FastMTL's with AdamW.

    The AdamW of transformers 2 to 4, which the papers used, adds eps before it corrects the bias of the second moment,
    torch's after: the first steps differ where gradients are near eps (1e-8), and are not reproduced.

    The learning rate warms up linearly, then decays linearly to 0 (or stays); the gradient is clipped by its global
    norm. "adamax" with a warm-up of 0.1 and a weight decay of 0.01 is MT-DNN's recipe (see `optimisers.Adamax`), but
    for its learning rate: MT-DNN's starts at 0 and drops to 1 - x where the warm-up ends, x the share of the steps
    that is done; ours does not drop, and is 1/0.9 of it from there on.

    Reference:
        Liu et al., 2019 (MT-DNN), section 4.1.
    """

    lr: float
    batch_size: int = 32
    weight_decay: float = 0.0
    warmup: float = 0.0  # fraction of the phase's steps
    clip: float = 1.0
    optimiser: Literal["adamw", "adamax"] = "adamw"
    decay: Literal["linear", "none"] = "linear"
    # What a step does to the head of a task that its batch has no rows of. "coasts": it moves on by Adam's moments, as
    # under the torch that the papers' code is pinned to (1.4, 1.7), whose `zero_grad` leaves zeros, not nothing.
    idle_heads: Literal["still", "coasts"] = "still"


@dataclass(frozen=True)
class Rounds:
    """AUTOSEM's stage 1 in place of an order of batches: an epoch is a round of `batches` batches of one task.

    The bandit chooses the task and is paid by the primary's score on the plan's held-out rows (see
    `methods.autosem.bandits.rounds`, which explains the settings). Its arms are `arms(phase, primary)`.
    """

    batches: int = 10
    decay: float = 0.05
    rule: Literal["corrected", "paper"] = "corrected"


@dataclass(frozen=True)
class Weighting:
    """TAWT: what weighs the tasks of a phase, and what moves the weights.

    See `methods.tawt.task_weights`, `methods.tawt.weighted_trainer` and `signals.target_gradients`. What is weighed is
    `groups(phase, primary)`. With the primary among them training is joint; without it, it is pre-training, and the
    primary's head is fitted anew before each update.
    """

    prior: tuple[float, ...]  # starting weights, sum 1
    evidence: Literal["measured", "null", "shuffled", "fixed", "losses"] = "measured"
    every: int = 0  # steps between updates; 0: once an epoch
    eta: float = 1.0
    c: float = 1.0
    floor: float = 0.0
    decay: float = 0.0
    tau: float | None = None
    rule: Literal["corrected", "paper"] = "corrected"
    # How weights act: "mixed" batches whose parts are weighed, "scaled" losses of task-pure batches, or tasks "sampled"
    # by their effective shares. The clip is on the total gradient; of a scaled loss it comes before the scaling, or
    # after it ("scaled_then_clipped", the authors' order, which undoes weights where gradients are large).
    # "aggregated": the gradients of a mixed batch's parts are taken one by one, and the policy makes one of them.
    combine: Literal["mixed", "scaled", "scaled_then_clipped", "sampled", "aggregated"] = "mixed"
    target_rows: Literal["holdout", "train"] = "holdout"  # whose gradient the target's is
    itself: bool = False  # the target against itself is exactly 1, not measured on its training rows
    parameters: Literal["shared", "encoder", "last_layer"] = "shared"
    estimator: Literal["exact", "reused"] = "exact"  # "reused": training gradients against a target cached an epoch
    watch: bool = False  # measure cosines even where the weights do not follow them
    chunks: int = 2  # disjoint, per task and update
    chunk_rows: int = 64
    # Parts of a task with a weight of their own: task -> the part of each of its rows in the phase, in their order.
    # A part is weighed as "task#part"; all share the task's head. Only with combine "mixed".
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    # A registered policy that moves the weights in place of TAWT's rule, and its options.
    policy: str | None = None
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Phase:
    """Some epochs over some rows. Heads and encoder carry over from the phase before; the optimiser starts anew.

    `mixing` "homogeneous": task-pure batches in proportion to size (MT-DNN, FastMTL); "mixed": each batch is drawn over
    all rows, for one encoder pass, and each row goes through its own task's head. `loss_scale` "log_classes" divides a
    classification or tagging loss by ln(number of classes), its value at chance.

    Reference:
        Aghajanyan et al., 2021 (Muppet), section 3.2 ("log_classes").
    """

    name: str
    rows: Mapping[str, np.ndarray]  # positions in each task's train split
    epochs: int
    recipe: Recipe
    discriminator: Literal["bce", "ce"] | None = None
    disc_weight: float = 1.0
    # Which state of the model is kept: the last, or of those looked at the best on the plan's held-out rows (by the
    # primary metric), or on dev (by the product of the task's metrics, as the FastMTL code does; dev is then no longer
    # unseen).
    choose: Literal["last", "holdout", "dev"] = "last"
    mixing: Literal["homogeneous", "mixed"] = "homogeneous"
    loss_scale: Literal["none", "log_classes"] = "none"
    steps: int | None = None  # stop after so many steps, however many epochs that takes (`epochs` is then ignored)
    # The task of every step, as positions in `arms(phase, primary)`, cut into `epochs` parts. Batches are then
    # task-pure, and a task's rows are gone through again, in another order, as often as its steps need.
    order: np.ndarray | None = None
    weighting: Weighting | None = None
    rounds: Rounds | None = None  # `epochs` is then their number
    seed: int | None = None  # in place of the plan's order and dropout seeds
    # How often the model is looked at in order to choose, after equal numbers of steps, so that arms of unequal epochs
    # choose among as many states; a phase of fewer steps after each. 0: at the end of every epoch, as the authors do.
    looks: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything that decides a training run's result; `key_content` is what its key is made of.

    Raises:
        InputError: Two phases have one name, by which their rows, the state kept and costs are told apart.
    """

    encoder: str
    phases: tuple[Phase, ...]
    seeds: Mapping[str, int]  # init, order, dropout
    primary: str | None = None
    holdout: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # of the primary's train; never trained
    watch: Mapping[str, np.ndarray] = field(default_factory=dict)  # rows whose discriminator AUC is followed
    regression: multitask.Regression = "unit"
    pool: multitask.Pool = "auto"
    max_length: int = 128
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    device: str = "cpu"
    threads: int = 1
    processes: int = 1  # that share each batch (`training.data_parallel`), each with so many threads
    keep_model: bool = False
    keep_moments: bool = False  # Adam's, of the last phase's end
    frozen_layers: int = 0  # of the encoder, the first, which with its embeddings stay as they are

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise InputError(f"phases {', '.join(map(repr, names))}: each needs a name of its own; rename one")

    def key_content(self, suite: Suite) -> dict[str, Any]:
        """Describe the plan over a suite: rows by hash, the suite and the encoder by fingerprint.

        Args:
            suite: The suite that the plan is for.

        Returns:
            A dict that JSON holds.
        """
        content = asdict(self) | {
            "suite": suite.fingerprint,
            "encoder": encoder_files.fingerprint(self.encoder),
        }
        if self.device.startswith("cuda"):  # whose results do not depend on the host's threads
            del content["threads"]
        for later in ("keep_moments", "frozen_layers"):  # as trainings were keyed before any had them
            if not content[later]:
                del content[later]
        for weighting in (phase["weighting"] for phase in content["phases"] if phase["weighting"]):
            if weighting["policy"] is None:  # as trainings were keyed before there were policies of others
                del weighting["policy"], weighting["options"]
        return json.loads(json.dumps(content, default=hash_rows))


def hash_rows(rows: Any) -> str:
    """Hash an array of row positions.

    Args:
        rows: The array; anything else is refused.

    Returns:
        16 hex digits.

    Raises:
        TypeError: `rows` is not an array.
    """
    if not isinstance(rows, np.ndarray):
        raise TypeError(f"a plan holds plain values and arrays, not {type(rows)}")
    return hashlib.sha256(np.ascontiguousarray(rows, dtype=np.int64).tobytes()).hexdigest()[:16]


def arms(phase: Phase, primary: str | None) -> list[str]:
    """List the phase's tasks, the primary first, then by name."""
    return sorted(phase.rows, key=lambda name: (name != primary, name))


def groups(phase: Phase, primary: str | None) -> dict[str, tuple[str, np.ndarray]]:
    """List what a phase weighs, in the order of its weights.

    These are the phase's tasks as in `arms`; those that are cut into `Weighting.parts` appear as "task#part", part by
    part.

    Args:
        phase: The phase.
        primary: The primary task.

    Returns:
        For each name its task, and which of the task's rows in the phase it stands for (int64).
    """
    weighed: dict[str, tuple[str, np.ndarray]] = {}
    cut = phase.weighting.parts if phase.weighting else {}
    for name in arms(phase, primary):
        if name in cut:
            weighed |= {f"{name}#{part}": (name, np.flatnonzero(cut[name] == part)) for part in np.unique(cut[name])}
        else:
            weighed[name] = name, np.arange(len(phase.rows[name]))
    return weighed


def check(plan: Plan, suite: Suite) -> None:
    """Refuse a plan that cannot work, before anything is loaded.

    Args:
        plan: The plan.
        suite: Its suite.

    Raises:
        InputError: A phase contradicts itself, the plan or the suite.
    """
    for phase in plan.phases:
        if min(phase.epochs, 1 if phase.steps is None else phase.steps) < 1 or not any(map(len, phase.rows.values())):
            raise InputError(f"phase {phase.name!r}: needs at least one epoch, one step and one row")
        for name, rows in phase.rows.items():
            size = len(suite[name].train)
            if len(rows) and (rows.min() < 0 or rows.max() >= size):
                raise InputError(f"phase {phase.name!r}: task {name!r} has {size} rows; a row asked for is not there")
            if name == plan.primary and np.isin(rows, plan.holdout).any():
                raise InputError(f"phase {phase.name!r}: trains on rows held out to choose what is kept")
        if (phase.choose == "holdout" or phase.rounds) and not (plan.primary and len(plan.holdout)):
            what = "a bandit" if phase.rounds else "choosing what is kept"
            raise InputError(f"phase {phase.name!r}: {what} needs held-out rows of the primary")
        if sum(x is not None for x in (phase.order, phase.rounds, phase.steps)) > 1:
            raise InputError(f"phase {phase.name!r}: order, rounds and steps each say how long it is; give one")
        if phase.weighting:
            if plan.frozen_layers:
                raise InputError(f"phase {phase.name!r}: weights are measured on whole models; set frozen_layers to 0")
            _check_weighting(plan, phase, phase.weighting)
        if phase.rounds and (plan.primary not in phase.rows or not all(map(len, phase.rows.values()))):
            raise InputError(f"phase {phase.name!r}: a bandit's arms are the primary and tasks with rows")
        if phase.order is not None:
            names = arms(phase, plan.primary)
            known = len(phase.order) >= phase.epochs and ((phase.order >= 0) & (phase.order < len(names))).all()
            if not known or not all(len(phase.rows[names[i]]) for i in np.unique(phase.order)):
                raise InputError(
                    f"phase {phase.name!r}: its order names a task without rows, or fewer steps than epochs"
                )
        if phase.choose == "dev" and not plan.primary:
            raise InputError(f"phase {phase.name!r}: choosing what is kept on dev needs a primary task")
        if phase.looks < 0 or (phase.rounds and phase.choose != "last"):
            raise InputError(f"phase {phase.name!r}: looks are 0 or more, and a bandit's phase keeps its last state")


def _check_weighting(plan: Plan, phase: Phase, w: Weighting) -> None:
    names, where = arms(phase, plan.primary), f"phase {phase.name!r}: weighting"
    if plan.primary is None:
        raise InputError(f"{where} needs a primary task")
    if not [name for name in names if name != plan.primary]:
        raise InputError(f"{where}: no source task to weigh")
    for name in names:
        if not len(phase.rows[name]):
            raise InputError(f"{where}: task {name!r} has no usable rows")
    for name, part in w.parts.items():
        if name == plan.primary or name not in names or np.shape(part) != (len(phase.rows[name]),):
            raise InputError(f"{where}: parts of {name!r}; only a source has any, one for each of its rows")
    if w.parts and w.combine != "mixed":
        raise InputError(f"{where}: parts of a task have weights of their own in mixed batches only, not {w.combine!r}")
    weighed = list(groups(phase, plan.primary))
    if len(w.prior) != len(weighed):
        raise InputError(f"{where}: {len(w.prior)} weights for the tasks {', '.join(weighed)}")
    if plan.processes > 1 and (w.evidence == "losses" or w.combine == "aggregated"):
        raise InputError(
            f"{where}: {w.policy} reads each task's own loss, which {plan.processes} processes share; use 1"
        )
    if phase.order is not None or phase.rounds:
        raise InputError(f"{where}: weights and an order of steps both say how tasks mix; give one")
    if w.evidence == "losses" and w.every > 1:
        raise InputError(f"{where}: {w.policy} follows losses at every step or epoch; use every 1 or 0, not {w.every}")
    if w.every < 0 or min(w.chunks, w.chunk_rows) < 1:
        raise InputError(f"{where}: every {w.every}, chunks {w.chunks}, chunk_rows {w.chunk_rows} are too small")
    if w.watch or w.evidence in ("measured", "shuffled"):
        need = w.chunks if w.rule == "corrected" else 1
        if w.target_rows == "holdout" and len(plan.holdout) < need:
            raise InputError(
                f"{where}: the target's gradient needs {need} held-out rows or more, {len(plan.holdout)} are held out; "
                "use choose: holdout and a larger `holdout`"
            )
        if w.estimator == "reused" and w.combine == "mixed":
            raise InputError(f"{where}: gradients of mixed batches cannot be told apart; reuse needs another `combine`")
        if w.rule == "corrected" and w.chunks < 2 and w.estimator == "exact":
            raise InputError(f"{where}: debiasing needs 2 chunks or more; rule 'paper' does with one")


def joins(phase: Phase) -> bool:
    """Say whether a batch of the phase may hold rows of several tasks."""
    if phase.order is not None or phase.rounds:
        return False
    return phase.weighting.combine in ("mixed", "aggregated") if phase.weighting else phase.mixing == "mixed"


def schedule(phase: Phase, sizes: Mapping[str, int]) -> list[int]:
    """Count the steps of each epoch of a phase.

    Args:
        phase: The phase.
        sizes: Rows (of a split text: sequences) by task.

    Returns:
        One number of steps per epoch.
    """
    if phase.order is not None:
        return [len(part) for part in np.array_split(phase.order, phase.epochs)]
    if phase.rounds:
        return [phase.rounds.batches] * phase.epochs
    batch = phase.recipe.batch_size
    whole = -(-sum(sizes.values()) // batch) if joins(phase) else sum(-(-n // batch) for n in sizes.values())
    if phase.steps is None:
        return [whole] * phase.epochs
    full, rest = divmod(phase.steps, whole)
    return [whole] * full + ([rest] if rest else [])


def looks(phase: Phase, steps: Sequence[int]) -> list[int]:
    """List the steps after which a phase is looked at in order to choose which state is kept.

    Args:
        phase: The phase.
        steps: The steps of each of its epochs, from `schedule`.

    Returns:
        Numbers of steps taken, rising, the last of them all; none where the last state is kept.
    """
    if phase.choose == "last":
        return []
    total = sum(steps)
    if not phase.looks:
        return np.cumsum(steps).tolist()
    count = min(phase.looks, total)
    return [-(-total * number // count) for number in range(1, count + 1)]


def seed(plan: Plan, phase: Phase, purpose: Literal["order", "dropout"]) -> int:
    """Return the seed of a phase's order or dropout: its own, or else the plan's."""
    return plan.seeds[purpose] if phase.seed is None else phase.seed


def rate(step: int, total: int, recipe: Recipe) -> float:
    """Compute the learning rate of a step: linear warm-up, then linear decay to 0 at `total`, or none.

    Args:
        step: Number of the step in its phase, from 0.
        total: Steps of the phase.
        recipe: The phase's recipe.

    Returns:
        The learning rate.
    """
    warm = recipe.warmup * total
    if step < warm:
        return recipe.lr * (step + 1) / (warm + 1)
    if recipe.decay == "none":
        return recipe.lr
    return recipe.lr * (total - step) / max(1.0, total - warm)

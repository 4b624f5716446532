"""Task affinity: tasks a step on which lowers the primary's loss, during one joint training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from auxlearn import seeding
from auxlearn.cost import Ledger, Meter, total
from auxlearn.methods import arm_plans, task_plans
from auxlearn.methods.base import Artifact, Cell, Charge, Context, Maker, Need, SizedContext
from auxlearn.methods.registry import register
from auxlearn.methods.task_scores import base
from auxlearn.training.phases import Phase, Plan, Recipe, hash_rows
from auxlearn.training.shared_parameters import Seeds, Trained

if TYPE_CHECKING:
    from auxlearn.data.suites import Suite
    from auxlearn.models.multitask import Batch, MultiTaskModel
    from auxlearn.records import runs


class TagOptions(base.TaskScoreOptions):
    """Options of tag_affinity."""

    joint_rows: int = Field(500, ge=1)
    """most rows of each task in the joint training"""
    joint_epochs: int = Field(3, ge=1)
    """epochs of the joint training; affinities are measured after each"""
    lookaheads: int = Field(8, ge=1)
    """steps of each task that are looked at after an epoch, each with other rows"""
    look_rate: float = Field(0.0, ge=0)
    """learning rate of the step that is looked at (0: that of the training, as in the authors' code)"""


class TaskAffinity(Trained):
    """Parameters of tasks' affinities with the primary, one set for each of `seeds`."""

    stage = ""  # no notebook shows it

    seeds: Seeds = [0, 1]
    """each trains a model of its own"""
    joint_rows: int = Field(500, ge=1)
    """most rows of each task in the joint training"""
    joint_epochs: int = Field(3, ge=1)
    """epochs of the joint training"""
    lookaheads: int = Field(8, ge=1)
    """steps of each task that are looked at after an epoch"""
    look_rate: float = Field(0.0, ge=0)
    """learning rate of the step that is looked at (0: that of the training)"""
    holdout: float = Field(0.0, ge=0, lt=0.9)
    """share of the primary's rows that the arm holds out, which are neither trained nor looked at (0: none)"""


@register
class TagAffinity(base.TaskScore):
    """Lookahead affinities of task affinity groupings (TAG).

    A task's gradient, of the mean loss of a batch, takes one plain step on the parameters that all tasks share; the
    affinity is what share of the primary's loss on another batch goes away by it. What differs from the authors:

    - They look ahead every 10 steps of one training, and average. Here it is after each epoch, at a constant rate,
      where the state is that of a training which ends there: each is such a training, of 1 to `joint_epochs` epochs,
      and is charged.
    - Their tasks share each input, so that loss and gradient are of one batch; here a task's batch is of rows of its
      own, and the primary's of the primary's.
    - The step of their code for CelebA has the momentum of the training's optimiser, and its affinities are divided by
      the learning rate; ours has none, and a rate that is the same for all tasks changes no order.
    - They choose groups of tasks that serve all of them; here tasks are scored for the primary alone.
    """

    name, reference = "tag_affinity", "Fifty et al., 2021 (TAG, 2109.04617)"
    title = "n rows of the tasks a step on which lowers the primary's loss most, during a joint training"
    formula = (
        "s(task) = mean over lookaheads of 1 - L(w - rate * gradient of the task's loss at w) / L(w), L the primary's "
        "loss, w the shared parameters"
    )
    cost = "joint trainings of 1 to joint_epochs epochs, and per lookahead a gradient and a forward pass for each task"
    use = "beside tawt_joint, which reads the angle of the same gradients: this knows how far a step goes"
    Options = TagOptions

    def needs(self, cell: Cell, options: Any) -> list[Need]:
        """Need the auxiliaries' affinities with the primary."""
        p: Any = cell.params
        given = options.model_dump(include={"joint_rows", "joint_epochs", "lookaheads", "look_rate"})
        given["holdout"] = p.held_out
        return [Need("task_affinity", arm_plans.of_arm(p) | given)]

    def task_scores(self, context: Context, cell: Cell, options: Any) -> Mapping[str, float]:
        """Read the affinities."""
        return context.obtain(*self.needs(cell, options))


@register
class TaskAffinityMaker(Maker):
    """Trains all tasks jointly, and looks a step of each ahead."""

    artifact, Parameters = "task_affinity", TaskAffinity

    def make(self, context: Context, p: TaskAffinity, seed: int) -> Artifact:
        """Make a seed's; the value is a float by auxiliary."""
        from auxlearn.training import training_cache

        made, found = Artifact({}), []
        rate = p.look_rate or p.lr
        for epoch, plan in enumerate(self.plans(context, p, seed)):
            training = training_cache.trained(plan, context.suite, context.progress)
            rows = self.looked(context, p, seed, plan, epoch)
            manifest, values = measured(training.manifest, plan, context.suite, p.primary, rows, p.batch_size, rate)
            found.append(values)
            made.ledgers += [total("joint_training", training.ledgers), *map(Ledger.from_dict, manifest.ledger)]
            made.manifests += [training.manifest, manifest]
        made.value = dict(zip(base.measurable(context), np.mean(found, 0).tolist(), strict=True))
        return made

    def forecast(self, context: SizedContext, p: TaskAffinity, seed: int) -> list[Charge]:
        """Forecast trainings and lookaheads."""
        charges: list[Charge] = []
        for epoch, plan in enumerate(self.plans(context, p, seed)):
            charges += context.trained(plan, "joint_training")
            for name, rows in self.looked(context, p, seed, plan, epoch).items():
                own = name == p.primary  # read before any step, and after that of each task
                times = 1 + len(base.measurable(context)) if own else 1
                charges.append(context.in_batches(plan, name, rows, p.batch_size, "lookahead", not own, times))
        return charges

    def plans(self, context: Context, p: TaskAffinity, seed: int) -> list[Plan]:
        """Plan the joint trainings, of 1 to `joint_epochs` epochs."""
        usable, rows = context.usable(None), {}
        held = arm_plans.holdout(context.suite, p.primary, p.holdout, seed, context.usable(p.primary)[p.primary])[1]
        for name in context.suite:
            if name in (p.primary, *base.measurable(context)):
                mask = usable[name].copy()
                if name == p.primary:
                    mask[held] = False
                rows[name] = task_plans.sample("tag", name, seed, mask, p.joint_rows)
        recipe = Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads, decay="none")
        given: dict[str, Any] = {"mixing": p.mixing, "loss_scale": p.loss_scale}
        kept: dict[str, Any] = arm_plans.common(p) | {"keep_model": True}
        return [
            Plan(phases=(Phase("joint", rows, epochs, recipe, **given),), seeds=seeding.record(seed), **kept)
            for epochs in range(1, p.joint_epochs + 1)
        ]

    def looked(
        self, context: Context, p: TaskAffinity, seed: int, plan: Plan, epoch: int
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Draw the rows of the batches that are looked at: of each task as many, again where it has fewer."""
        drawn = {}
        for name in (p.primary, *base.measurable(context)):
            rng = seeding.rng(seed, "sample", "lookahead", name, epoch)
            drawn[name] = np.resize(rng.permutation(plan.phases[0].rows[name]), p.lookaheads * p.batch_size)
        return drawn


def measured(
    training: runs.Manifest, plan: Plan, suite: Suite, primary: str, rows: Mapping[str, np.ndarray], size: int,
    rate: float,
) -> tuple[runs.Manifest, np.ndarray]:  # fmt: skip
    """Measure affinities at a model, or read them back: they are made once for a training.

    Args:
        training: The training of the model.
        plan: Its plan.
        suite: The suite with the rows' texts.
        primary: The task whose loss is looked at.
        rows: By task, the primary first, the rows of its batches, as many for each.
        size: Rows of a batch.
        rate: The learning rate of a step.

    Returns:
        The run that holds them; float64 [tasks but the primary], in their order.
    """
    from auxlearn.files import stored_arrays
    from auxlearn.records import runs

    content = {
        "training": training.key, "suite": suite.fingerprint, "primary": primary, "size": size, "rate": rate,
        "rows": [[name, hash_rows(own)] for name, own in rows.items()], "device": plan.device,
    }  # fmt: skip
    key, roots = runs.digest([runs.SCHEMA, content]), ("methods.task_scores.tag_affinity",)
    run = runs.Run("lookahead", key, content, suite.fingerprint, [training], code_roots=roots)
    manifest = run.once(lambda: _measure(run, training, plan, suite, primary, rows, size, rate))
    return manifest, np.asarray(stored_arrays.array(manifest.path("affinities.npy")))


def _measure(
    run: runs.Run, training: runs.Manifest, plan: Plan, suite: Suite, primary: str, rows: Mapping[str, np.ndarray],
    size: int, rate: float,
) -> runs.Manifest:  # fmt: skip
    import torch

    from auxlearn.data import batching
    from auxlearn.data.tokens import token_store
    from auxlearn.models import devices
    from auxlearn.signals import pass_store

    if plan.device == "cpu":
        torch.set_num_threads(plan.threads)
    net, ledger, batches = pass_store.load_model(training, plan, suite), Ledger("lookahead"), {}
    for name, own in rows.items():
        encoded = token_store.encoded(suite[name], "train", net.tokenizer, net.max_length, rows=own)
        cut = np.split(np.arange(len(own)), range(size, len(own), size))
        batches[name] = [batching.to_batch(encoded, i, suite[name], net.columns[name], net.pad_id) for i in cut]
        for lengths in (encoded.lengths[i] for i in cut):
            if name != primary:
                ledger.add_gradient(net.encoder.config, lengths, int(lengths.max()))
            for _ in rows if name == primary else ():  # before any step, and after that of each other task
                ledger.add_batch(net.encoder.config, lengths, int(lengths.max()), False)
    target = batches.pop(primary)
    with Meter(ledger, plan.device), devices.repeatable(plan.device):
        np.save(run.path("affinities.npy"), affinities(net, batches, target, rate).mean(1))
    return run.finish(["affinities.npy"], {"lookaheads": len(target)}, [ledger], plan.seeds)


def affinities(
    model: MultiTaskModel, batches: Mapping[str, Sequence[Batch]], target: Sequence[Batch], rate: float
) -> np.ndarray:  # fmt: skip
    """Tell what share of a target's loss goes away by one step on another task.

    Args:
        model: The model, in evaluation mode; its parameters and flags are left as found.
        batches: By task, B batches, each of which gives a step on the parameters that all tasks share.
        target: B batches of the target.
        rate: The learning rate of the steps, which are plain ones.

    Returns:
        1 - loss after / loss before, float64 [tasks, B]; below 0 where the step raises the loss.

    Raises:
        InputError: A batch has no label, or a loss is not finite.
    """
    import torch

    from auxlearn.errors import InputError
    from auxlearn.models.multitask import n_terms
    from auxlearn.signals import head_importance, target_gradients

    named, found = target_gradients.parameters(model, "shared"), np.zeros((len(batches), len(target)))
    with head_importance.left_as_found(model), torch.inference_mode(False), torch.enable_grad():
        for _, p in named:
            p.requires_grad_(True)
        for number, own in enumerate(target):
            n_terms(model, own)
            with torch.no_grad():
                before = float(model.task_loss(own, model(own).logits))
            for at, batch in enumerate(each[number] for each in batches.values()):
                n_terms(model, batch)
                loss = model.task_loss(batch, model(batch).logits)
                gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
                with torch.no_grad():
                    moved = {
                        name: p - rate * gradient
                        for (name, p), gradient in zip(named, gradients, strict=True) if gradient is not None
                    }  # fmt: skip
                    logits = torch.func.functional_call(model, moved, (own,)).logits
                    found[at, number] = 1 - float(model.task_loss(own, logits)) / max(before, 1e-12)
    if not np.isfinite(found).all():
        raise InputError("tag_affinity: a loss is not finite after a step; lower look_rate or lr")
    return found

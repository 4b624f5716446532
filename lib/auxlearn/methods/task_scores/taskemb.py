"""TaskEmb: tasks to whose labels the same units of the encoder matter as to the primary's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from auxlearn.cost import Ledger, Meter, total
from auxlearn.methods import arm_plans, task_plans
from auxlearn.methods.base import Artifact, Cell, Charge, Context, Maker, Need, SizedContext
from auxlearn.methods.registry import register
from auxlearn.methods.task_scores import base
from auxlearn.training.phases import Plan, hash_rows

if TYPE_CHECKING:
    from auxlearn.data.suites import Suite
    from auxlearn.models.multitask import Batch, MultiTaskModel
    from auxlearn.records import runs
    from auxlearn.training.resuming import Progress

Squares = Literal["rows", "batches"]
BATCH = 32  # rows of the authors' batches


class TaskEmbOptions(base.TaskScoreOptions):
    """Options of taskemb."""

    source_rows: int = Field(500, ge=0)
    """most rows of each task that its model is tuned on (0: all)"""
    source_epochs: int = Field(3, ge=1)
    """epochs of tuning each task alone"""
    fisher_rows: int = Field(100, ge=0)
    """most rows of each task whose gradients are squared (0: all)"""
    squares: Squares = "rows"
    """whose gradients are squared: each row's, as the Fisher information has it; or those of the mean loss of batches
    of 32 rows, as the authors' code does, where gradients of rows that differ cancel out"""


class TaskFisher(task_plans.TunedAlone):
    """Parameters of tasks' Fisher information, each by a model tuned on the task alone."""

    stage = ""  # no notebook shows it

    squares: Squares = "rows"
    """whose gradients are squared"""


@register
class TaskEmb(base.TaskScore):
    """Cosines of the diagonals of tasks' Fisher information.

    It is the empirical one, of the labels as they are, of all weights and biases of the encoder's linear layers, at a
    model tuned on the task, with dropout off. What differs from the authors: their code squares the gradients of the
    mean loss of batches (`squares: batches`), of embeddings and layer norms too, and of the outputs of layers and
    heads; the paper joins the orders that these parts give. Here tasks are compared by the cosine of all of it.
    """

    name, reference = "taskemb", "Vu et al., 2020 (TaskEmb, 2005.00770); Achille et al., 2019 (Task2Vec)"
    title = "n rows of the tasks whose Fisher information is nearest to the primary's"
    formula = "s(task) = cos of F(task) and F(primary), F the mean over rows of the squared gradient of the row's loss"
    cost = "a model tuned on each task alone, and a backward pass for some rows of each, for all primaries and n alike"
    use = "beside gradts_top, which reads absolute gradients of heads off the same models"
    Options = TaskEmbOptions

    def needs(self, cell: Cell, options: Any) -> list[Need]:
        """Need the Fisher information of the primary and the auxiliaries."""
        given = {"tune_rows": options.source_rows, "epochs": options.source_epochs, "squares": options.squares}
        return [Need("task_fisher", arm_plans.of_arm(cell.params) | given | {"importance_rows": options.fisher_rows})]

    def task_scores(self, context: Context, cell: Cell, options: Any) -> Mapping[str, float]:
        """Compare the tasks' Fisher information with the primary's."""
        return base.cosines(context.obtain(*self.needs(cell, options)), cell.primary)


@register
class TaskFisherMaker(Maker):
    """Tunes a model on each task alone, and measures the diagonal of its Fisher information."""

    artifact, Parameters = "task_fisher", TaskFisher

    def make(self, context: Context, p: TaskFisher, seed: int) -> Artifact:
        """Make a seed's; the value is float32 [parameters] by task, the primary's among them."""
        from auxlearn.training import training_cache

        made = Artifact({})
        for name, (plan, rows) in self.plans(context, p, seed).items():
            training = training_cache.trained(plan, context.suite, context.progress)
            manifest, made.value[name] = measured(
                training.manifest, plan, context.suite, name, rows, p.squares, context.progress
            )
            made.ledgers += [total("task_tuning", training.ledgers), *map(Ledger.from_dict, manifest.ledger)]
            made.manifests += [training.manifest, manifest]
        return made

    def forecast(self, context: SizedContext, p: TaskFisher, seed: int) -> list[Charge]:
        """Forecast tunings and backward passes."""
        charges: list[Charge] = []
        for name, (plan, rows) in self.plans(context, p, seed).items():
            charges += context.trained(plan, "task_tuning")
            charges.append(context.in_batches(plan, name, rows, _cut(p.squares), "fisher"))
        return charges

    def plans(self, context: Context, p: TaskFisher, seed: int) -> dict[str, tuple[Plan, np.ndarray]]:
        """Plan by task its model and the rows that are measured, the primary first."""
        usable = context.usable(None)
        return {
            name: task_plans.task_tuning(p, context.suite, name, seed, usable[name])
            for name in (p.primary, *base.measurable(context))
        }


def _cut(squares: Squares) -> int:
    return BATCH if squares == "batches" else 1


def measured(
    training: runs.Manifest, plan: Plan, suite: Suite, name: str, rows: np.ndarray, squares: Squares = "rows",
    progress: Progress | None = None,
) -> tuple[runs.Manifest, np.ndarray]:  # fmt: skip
    """Measure the diagonal of a task's Fisher information, or read it back: it is made once for a training.

    Args:
        training: The training of the task's model.
        plan: Its plan.
        suite: The suite with the rows' texts.
        name: The task.
        rows: Positions in its train split, int [N].
        squares: Whose gradients are squared.
        progress: Called with a line of text whenever something has been done.

    Returns:
        The run that holds it; float32 [parameters].

    Raises:
        InputError: A row has no label.
    """
    from auxlearn.files import stored_arrays
    from auxlearn.records import runs

    content = {
        "training": training.key, "suite": suite.fingerprint, "task": name, "rows": hash_rows(rows),
        "squares": squares, "device": plan.device,
    }  # fmt: skip
    key = runs.digest([runs.SCHEMA, content])
    roots = ("methods.task_scores.taskemb",)
    run = runs.Run("fisher", key, content, suite.fingerprint, [training], code_roots=roots)
    manifest = run.once(lambda: _measure(run, training, plan, suite, name, rows, squares, progress))
    return manifest, np.asarray(stored_arrays.array(manifest.path("fisher.npy")))


def _measure(
    run: runs.Run, training: runs.Manifest, plan: Plan, suite: Suite, name: str, rows: np.ndarray, squares: Squares,
    progress: Progress | None,
) -> runs.Manifest:  # fmt: skip
    import torch

    from auxlearn.data import batching
    from auxlearn.data.tokens import token_store
    from auxlearn.models import devices
    from auxlearn.signals import pass_store

    if plan.device == "cpu":
        torch.set_num_threads(plan.threads)
    net, task, ledger = pass_store.load_model(training, plan, suite), suite[name], Ledger("fisher")
    encoded = token_store.encoded(task, "train", net.tokenizer, net.max_length, rows=rows)
    with Meter(ledger, plan.device), devices.repeatable(plan.device):
        batches = []
        for index in np.split(np.arange(len(rows)), range(_cut(squares), len(rows), _cut(squares))):
            lengths = encoded.lengths[index]
            ledger.add_gradient(net.encoder.config, lengths, int(lengths.max()))
            batches.append(batching.to_batch(encoded, index, task, net.columns[name], net.pad_id))
        np.save(run.path("fisher.npy"), fisher(net, batches))
    if progress:
        progress(f"measured the Fisher information of {name}: {len(rows)} rows")
    return run.finish(["fisher.npy"], {"rows": len(rows)}, [ledger], plan.seeds)


def fisher(model: MultiTaskModel, batches: list[Batch]) -> np.ndarray:
    """Average the squared gradients of batches' mean losses: of batches of one row, the Fisher information's diagonal.

    Args:
        model: The model, in evaluation mode; gradients are of its encoder's linear layers. Its flags are left as found.
        batches: Batches of one task.

    Returns:
        float32 [parameters], in the order of `target_gradients.parameters`.

    Raises:
        InputError: A batch has no label.
    """
    import torch

    from auxlearn.models.multitask import n_terms
    from auxlearn.signals import head_importance, target_gradients

    parameters = [p for _, p in target_gradients.parameters(model, "linear")]
    sums = [torch.zeros_like(p) for p in parameters]
    with head_importance.left_as_found(model), torch.inference_mode(False), torch.enable_grad():
        for p in parameters:
            p.requires_grad_(True)
        for batch in batches:
            n_terms(model, batch)
            loss = model.task_loss(batch, model(batch).logits)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)  # a pooler may be out of use
            for own, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    own += gradient.square()
    return (torch.cat([own.flatten() for own in sums]) / len(batches)).cpu().numpy()

"""What a target's gradient says about other tasks and rows, measured on a model without disturbing it.

The target's gradient lies in a flat buffer on the device, one row per chunk of target rows. Other tasks' gradients are
computed one after another; of each, inner products are taken, parameter by parameter, and nothing is kept but what a
later chunk of the same task still needs. Alive at any time: H + M - 1 buffers for H target and M task chunks, and one
gradient. (The authors' code, weighted_training_basics.py, copies the model for every task and flattens 10^8 numbers
through Python lists.) Dropout is off, as in their code.

Theirs is H = M = 1 with 64 *training* sentences, parameters "encoder", once per epoch (in pre-training always the same
sentences, as their sampler is seeded anew each time). Ours: two chunks or more per task, hundreds of rows, and target
rows held out of training, as the gradient of rows that are trained on fades whatever the sources do. In the
pre-training form the target's head comes from `training.linear_head`; theirs starts from the same random head at every
update and has one epoch (4 to 16 steps), so that the gradient passes through a near-random head.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.models import devices, encoders
from auxlearn.models.multitask import Batch, MultiTaskModel, n_terms
from auxlearn.signals import head_importance
from auxlearn.signals.gradient_moments import Moments

Which = Literal["encoder", "shared", "last_layer", "linear"]
BLOCK = 1 << 16  # terms of an inner product that are added in fp32


def parameters(model: MultiTaskModel, which: Which = "shared") -> list[tuple[str, nn.Parameter]]:
    """List the parameters whose gradients are compared; heads are never among them.

    Args:
        model: The model.
        which: "encoder": embeddings and all layers, but no pooler, as in the authors' tagging models, where none is in
            use. "shared": all that tasks share, a pooler included. "last_layer": the last transformer layer alone;
            cheaper, since the backward pass ends there, but blind to disagreement below it. "linear": weights and
            biases of all linear layers.

    Returns:
        Names in the model, and parameters.

    Raises:
        InputError: `which` is unknown, or the last layer cannot be told.
    """
    named = [(f"encoder.{name}", p) for name, p in model.encoder.named_parameters()]
    if which == "shared":
        return named
    if which == "encoder":
        return [(name, p) for name, p in named if not name.startswith("encoder.pooler.")]
    if which == "linear":
        linear = {p for m in model.encoder.modules() if isinstance(m, nn.Linear) for p in m.parameters(recurse=False)}
        return [(name, p) for name, p in named if p in linear]
    if which != "last_layer":
        raise InputError(f"parameters: {which!r} is none of 'encoder', 'shared', 'last_layer', 'linear'")
    depth = model.encoder.config.num_hidden_layers
    found = encoders.stacks(model.encoder)
    if not found:
        raise InputError(f"parameters: encoder {type(model.encoder).__name__} keeps no list of its {depth} layers")
    name = max(found, key=lambda name: sum(p.numel() for p in found[name].parameters()))
    return [(n, p) for n, p in named if n.startswith(f"encoder.{name}.{depth - 1}.")]


def draw(rows: np.ndarray, chunks: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw disjoint random chunks of equal size.

    Args:
        rows: Rows to draw from.
        chunks: Number of chunks.
        size: Rows per chunk; fewer if there are not as many.
        rng: Give each task and update a generator of its own.

    Returns:
        One int64 array per chunk.

    Raises:
        InputError: There are fewer rows than chunks, or `chunks` or `size` is below 1.
    """
    if min(chunks, size) < 1:
        raise InputError(f"probe: {chunks} chunks of {size} rows; each must be at least 1")
    if len(rows) < chunks:
        raise InputError(f"probe: {len(rows)} rows for {chunks} disjoint chunks; hold out more or use fewer chunks")
    size = min(size, len(rows) // chunks)
    order = rng.permutation(np.asarray(rows, np.int64))
    return [order[i * size : (i + 1) * size] for i in range(chunks)]


class Probe:
    """Inner products with a target's gradient. First call `target`, then any of `source`, `read` and `scores`.

    A chunk is an iterable of batches of one task; its gradient is that of the mean loss over all its labelled rows
    (tagging: labelled tokens), however they are cut into batches. The model's mode, `.grad`, `requires_grad` and random
    state are left as found. Products are taken in fp32 over blocks and added up in fp64.

    Args:
        model: The model.
        which: The parameters that are compared, see `parameters`.
        precision: "bf16" runs the encoder under autocast; "fp32" does not.
    """

    def __init__(self, model: MultiTaskModel, which: Which = "shared", precision: str = "fp32"):
        self.model, self.precision = model, precision
        self.named, self._spans, stop = parameters(model, which), [], 0
        for _, p in self.named:
            self._spans.append(slice(stop, stop := stop + p.numel()))
        self.size = stop
        self._target = self._chunks = torch.zeros(0)
        self.gram = np.zeros((0, 0))  # [H, H], products of the target's chunks
        self.moments: dict[nn.Parameter, tuple[torch.Tensor, torch.Tensor]] | None = None  # see `take_moments`

    def take_moments(self, moments: Mapping[str, torch.Tensor]) -> None:
        """Take up Adam's moments, by which `example_gradients` turns rows' gradients into the steps they would give.

        Args:
            moments: As from `optimisers.moments`.

        Raises:
            InputError: They do not fit the model.
        """
        self.moments = {}
        for name, p in self.named:
            # What takes no part in training has none.
            m, v = (moments.get(f"{kind}:{name}", torch.zeros_like(p)) for kind in "mv")
            if not m.shape == v.shape == p.shape:
                raise InputError(f"moments: those of {name!r} do not fit this model; train it again")
            self.moments[p] = m.flatten().to(p), v.flatten().to(p)

    @property
    def buffer_bytes(self) -> int:
        """What the probe holds on the device, in bytes."""
        return sum(b.numel() * b.element_size() for b in (self._target, self._chunks))

    def target(self, chunks: Sequence[Iterable[Batch]]) -> np.ndarray:
        """Measure and keep the target's gradient.

        Args:
            chunks: The target's H chunks.

        Returns:
            Products of the chunks with each other, float64 [H, H].

        Raises:
            InputError: There is no chunk, a chunk has no labels, or a gradient is not finite.
        """
        self.gram = np.zeros((0, 0))  # should this fail, the old gradient is gone too
        self._target = self._buffer(self._target, len(chunks), len(chunks))
        self.gram = self._read(self._measure(chunks, None, self._target), 0)
        return self.gram.copy()

    def source(self, chunks: Sequence[Iterable[Batch]]) -> Moments:
        """Measure the products of a task's chunk gradients with the target's and with each other.

        Args:
            chunks: The task's M chunks. For the target itself as a weighted task, give chunks of its training rows.

        Returns:
            The products.

        Raises:
            InputError: As in `target`, or `target` has not been called.
        """
        self.check_target()
        self._chunks = self._buffer(self._chunks, len(chunks) - 1, len(chunks))
        h = len(self._target)
        products = self._read(self._measure(chunks, self._target, self._chunks), h)
        return Moments(products[:h], self.gram.copy(), products[h:])

    def read(self, scale: float = 1.0) -> torch.Tensor:
        """Multiply the `.grad` that is there with the target's chunks, for gradients of training.

        It costs one pass over memory. Call it after a task-pure step's backward and before clipping. Such gradients
        hold dropout noise, and the cached target is as old as the last `target` call. The result stays on the device,
        so that nothing waits; `cosine.reused` (of `methods.tawt`) takes many of them.

        Args:
            scale: The factor that the step's loss was multiplied by.

        Returns:
            Products with the H chunks, then the squared norm of the gradient; float64 [H + 1].

        Raises:
            InputError: `scale` is not a positive number, or `target` has not been called.
        """
        self.check_target()
        if not (math.isfinite(scale) and scale > 0):
            raise InputError(f"scale: {scale} is not a positive number")
        with torch.no_grad():
            dots = self._products_of_grad()
        dots[:-1] /= scale
        dots[-1] /= scale**2
        return dots

    def scores(self, batch: Batch, method: Literal["jvp", "difference"] = "jvp", step: float = 1e-2) -> torch.Tensor:
        """Multiply each row's gradient with the target's mean gradient: above 0, learning the row helps the target.

        The products are directional derivatives of the rows' own losses (`head_importance.example_losses`), so that no
        row's gradient is formed.

        Args:
            batch: A batch of B rows of one task.
            method: "jvp" is exact, by forward-mode differentiation. "difference" is central, two passes with the
                parameters displaced along the direction, and works where an operation has no forward derivative.
            step: Length (L2) of that displacement.

        Returns:
            fp32 [B].

        Raises:
            InputError: `target` has not been called, an argument is not as described, a row has no label, or a result
                is not finite.
        """
        self.check_target()
        if method not in ("jvp", "difference"):
            raise InputError(f"method: {method!r} is neither 'jvp' nor 'difference'")
        if not (math.isfinite(step) and step > 0):
            raise InputError(f"step: {step} is not a positive length")
        n_terms(self.model, batch, every_row=True)
        direction = self._target.mean(0)
        length = float(direction.norm())
        if length == 0:
            return torch.zeros(len(batch["input_ids"]), device=self.model.device)
        direction /= length
        with self._quiet(()), torch.no_grad():
            if method == "jvp":
                with forward_ad.dual_level():
                    losses = self._displaced(batch, direction, forward_ad.make_dual)
                    slopes = forward_ad.unpack_dual(losses).tangent
            else:
                ahead, behind = (self._displaced(batch, direction, lambda p, v, s=s: p + s * v) for s in (step, -step))
                slopes = (ahead - behind) / (2 * step)
        scores = (slopes * length).float()
        if not torch.isfinite(scores).all():
            raise InputError(f"task {batch['task']!r}: a row's score is not finite; look at the model's weights")
        return scores

    # --- inside --------------------------------------------------------------------------------------------------

    def _products_of_grad(self) -> torch.Tensor:
        """Return the products of the `.grad` that is there with the target's chunks and itself, float64 [H + 1]."""
        if self.model.device.type != "cpu":
            g = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for _, p in self.named])
            return torch.cat([_stacked(self._target, g), _stacked(g[None], g)])
        terms, rows = [], len(self._target) + 1
        for (_, p), span in zip(self.named, self._spans, strict=True):
            if p.grad is not None:
                g = p.grad.flatten()
                terms += _dots([*self._target[:, span], g], g)
        return torch.stack(terms).double().view(-1, rows).sum(0) if terms else self._target.new_zeros(rows).double()

    def _displaced(self, batch: Batch, direction: torch.Tensor, move: Any) -> torch.Tensor:
        """Compute row losses [B] with `move(parameter, its part of the direction)` in the parameters' place."""
        moved = {
            name: move(p.detach(), direction[span].view_as(p))
            for (name, p), span in zip(self.named, self._spans, strict=True)
        }
        output = torch.func.functional_call(self.model, moved, (batch, self.precision))
        return head_importance.example_losses(self.model, batch, output.logits)

    def _measure(
        self, chunks: Sequence[Iterable[Batch]], others: torch.Tensor | None, buffer: torch.Tensor
    ) -> torch.Tensor:
        """Compute products [O + C, C] of each chunk with the O rows of `others`, then with all chunks.

        The gradients of the first chunks are left in `buffer`, as many as it has rows.
        """
        known = 0 if others is None else len(others)
        enter = self._by_parameter if self.model.device.type == "cpu" else self._at_once
        with self._quiet([p for _, p in self.named]):
            table = torch.zeros(known + len(chunks), len(chunks), dtype=torch.float64, device=buffer.device)
            for number, chunk in enumerate(chunks):
                terms = self._accumulate(chunk)
                enter(number, terms, others, buffer, table)
        return table

    def _by_parameter(
        self, number: int, terms: int, others: torch.Tensor | None, buffer: torch.Tensor, table: torch.Tensor
    ) -> None:
        """Enter a chunk's products into the table and its gradient into the buffer, and take the gradient away."""
        known = 0 if others is None else len(others)
        for (_, p), span in zip(self.named, self._spans, strict=True):
            if p.grad is None:  # took no part in the forward pass; the buffer may hold an older gradient
                buffer[number : number + 1, span] = 0
                continue
            g = p.grad.flatten().div_(terms)
            for at, rows in ((0, others), (known, buffer[:number])):
                if rows is not None:
                    table[at : at + len(rows), number] += _products(rows[:, span], g)
            table[known + number, number] += _products(g[None], g)[0]
            buffer[number : number + 1, span] = g
            p.grad = None

    def _at_once(
        self, number: int, terms: int, others: torch.Tensor | None, buffer: torch.Tensor, table: torch.Tensor
    ) -> None:
        """As `_by_parameter`, in three products of whole gradients: on a GPU it is calls that take the time."""
        known = 0 if others is None else len(others)
        g = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for _, p in self.named])
        g.div_(terms)
        for at, rows in ((0, others), (known, buffer[:number])):
            if rows is not None and len(rows):
                table[at : at + len(rows), number] = _stacked(rows, g)
        table[known + number, number] = _stacked(g[None], g)[0]
        buffer[number : number + 1] = g
        for _, p in self.named:
            p.grad = None

    def _read(self, table: torch.Tensor, known: int) -> np.ndarray:
        """Bring a table of `_measure` to the CPU, with both halves of the chunks' own products."""
        products = table.cpu().numpy()
        products[known:] = np.triu(products[known:]) + np.triu(products[known:], 1).T
        if not np.isfinite(products).all():
            raise InputError("probe: a gradient is not finite; the loss has diverged: lower lr or use precision fp32")
        return products

    def _accumulate(self, chunk: Iterable[Batch]) -> int:
        """Go backward through a chunk's batches, so that `.grad` is that of their losses' sum; return its terms."""

        def work(batches: Sequence[Batch]) -> int:
            for _, p in self.named:
                p.grad = None  # a batch for which memory was too small may have left part of its gradient
            total = 0
            for batch in batches:
                terms = n_terms(self.model, batch)
                loss = self.model.task_loss(batch, self.model(batch, self.precision).logits)
                (loss * terms).backward()
                total += terms
            return total

        def in_two(batch: Batch) -> list[Batch]:
            return [half for half in batching.in_two(batch) if batching.is_known(half["labels"]).any()]

        total = devices.fitting_together(
            "targets' gradients", list(chunk), work, in_two, lambda batch: len(batch["input_ids"])
        )
        if not total:
            raise InputError("probe: a chunk without batches; a task needs rows to have a gradient")
        return total

    def _buffer(self, old: torch.Tensor, rows: int, chunks: int) -> torch.Tensor:
        if chunks < 1:
            raise InputError("probe: no chunk of rows; a task needs rows to have a gradient")
        like = self.named[0][1]
        if old.shape == (rows, self.size) and old.device == like.device:
            return old
        with torch.inference_mode(False):  # else the buffer could never be written again outside it
            return torch.zeros(rows, self.size, dtype=like.dtype, device=like.device)

    def check_target(self) -> None:
        """Refuse a probe without a target's gradient.

        Raises:
            InputError: `target` has not been called.
        """
        if not len(self.gram):
            raise InputError("probe: no target gradient yet; call `target` first")

    @contextmanager
    def _quiet(self, trained: Sequence[nn.Parameter]) -> Iterator[None]:
        """Switch dropout off, gradients on for `trained` alone; restore mode, `.grad` and flags afterwards."""
        grads = [(p, p.grad) for p in self.model.parameters()]
        try:
            with head_importance.left_as_found(self.model), torch.inference_mode(False), torch.enable_grad():
                for _, p in self.named:
                    p.grad = None
                for p in trained:
                    p.requires_grad_(True)
                # Fused kernels have no forward derivative, and on a CPU were slower: see `head_importance`.
                plain = not trained or self.model.device.type == "cpu"
                with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
                    yield
        finally:
            for p, grad in grads:
                p.grad = grad


def _products(rows: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Compute inner products of rows [R, n] with g [n], fp64 [R].

    In blocks: of 12 million terms an fp32 sum on a CPU was wrong by 3e-4. Copies in fp64 would cost twice the memory.
    """
    if g.device.type != "cpu":
        return _stacked(rows, g)
    sums = torch.zeros(len(rows), dtype=torch.float64, device=g.device)
    for a, b in zip(rows.split(BLOCK, 1), g.split(BLOCK), strict=True):
        sums += (a @ b).double()
    return sums


def _stacked(rows: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Compute `_products` in a few calls, for a device on which each call costs as much as a block's arithmetic."""
    whole = len(g) // BLOCK * BLOCK
    sums = torch.zeros(len(rows), dtype=torch.float64, device=g.device)
    if whole:
        blocks = rows[:, :whole].unflatten(1, (-1, BLOCK)).transpose(0, 1)  # [blocks, R, BLOCK]
        sums += torch.bmm(blocks, g[:whole].view(-1, BLOCK, 1)).squeeze(2).sum(0, dtype=torch.float64)
    if whole < len(g):
        sums += (rows[:, whole:] @ g[whole:]).double()
    return sums


def _dots(rows: Sequence[torch.Tensor], g: torch.Tensor) -> list[torch.Tensor]:
    """Compute the terms of `_products`, R per block, to be added in fp64.

    That takes half the time of `_products` where rows are few, and one sum per model. PyTorch's `dot` keeps more digits
    than its matrix product, so blocks may be four times as long. For `read` alone: the exact probe's last bits steer
    the weights of published trainings.
    """
    step = 4 * BLOCK
    return [torch.dot(row[at : at + step], g[at : at + step]) for at in range(0, len(g), step) for row in rows]

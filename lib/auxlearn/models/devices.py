"""What keeps a GPU busy and its results repeatable; on a CPU everything here does the plain thing at once.

A GPU works through what it was given while Python goes on. Whatever reads a value off it waits until its queue is
empty, and the GPU then waits for Python. So batches are copied from pinned memory, results arrive one batch behind, and
checks of results are read together (tests/training/test_meta_device.py runs each pass where no value can be read).
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

from auxlearn.errors import InputError

Result = TypeVar("Result")
Batch = TypeVar("Batch")
HALVINGS: dict[str, int] = {}  # by kind of pass: how often this process has halved its batches


def kind(device: Any) -> str:
    """Return "cpu", "cuda" or another kind of a device, which may be named with its number."""
    return str(device).partition(":")[0]


def capabilities() -> dict[str, bool]:
    """Return what the processor can, by PyTorch's names; nothing under a release that does not tell."""
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; to a GPU from pinned memory, so that neither side waits.

    Args:
        tensor: On any device.
        device: Where it should be.

    Returns:
        The copy, or the tensor itself if it is there already.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def on_host(
    batches: Iterable[tuple[np.ndarray, Mapping[str, torch.Tensor]]],
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Bring the results of batches to the CPU; those of a GPU arrive while it computes the next batch.

    Args:
        batches: Row positions, and values by name, of any floating or integer type.

    Yields:
        The same, in the same order, as arrays; bf16 becomes float32.
    """
    behind: tuple[np.ndarray, Callable[[], dict[str, np.ndarray]]] | None = None
    for index, values in batches:
        arriving = _arriving(values)
        if all(value.device.type == "cpu" for value in values.values()):
            yield index, arriving()
            continue
        if behind:
            yield behind[0], behind[1]()
        behind = index, arriving
    if behind:
        yield behind[0], behind[1]()


def _arriving(values: Mapping[str, torch.Tensor]) -> Callable[[], dict[str, np.ndarray]]:
    """Begin to copy values to the CPU; return what waits for them."""
    wide = {n: v.detach().float() if v.dtype == torch.bfloat16 else v.detach() for n, v in values.items()}
    copies = {n: v.to("cpu", non_blocking=True) if v.device.type == "cuda" else v.cpu() for n, v in wide.items()}
    done = None
    if any(value.device.type == "cuda" for value in wide.values()):
        done = torch.cuda.Event()
        done.record()

    def arrived() -> dict[str, np.ndarray]:
        if done is not None:
            done.synchronize()
        return {name: copy.numpy() for name, copy in copies.items()}

    return arrived


def fitting(what: str, batches: Iterable[np.ndarray], work: Callable[[np.ndarray], Result]) -> Iterator[Result]:
    """Work through batches of rows; where a GPU's memory is too small, that batch and all later ones are halved.

    Later passes of the same kind in this process begin with batches as small. It is said once.

    Args:
        what: The kind of pass, for the message.
        batches: Row positions of each batch.
        work: Computes a batch, and leaves nothing behind where it fails.

    Yields:
        What `work` returns, in the order of the rows.

    Raises:
        InputError: One row alone does not fit.
    """
    waiting = deque(_halved(batches, HALVINGS.get(what, 0)))
    while waiting:
        result = short = None
        try:
            result = work(waiting[0])
        except torch.cuda.OutOfMemoryError as error:
            short = str(error).partition(".")[0]
        if short is None:
            waiting.popleft()
            yield result  # type: ignore[misc]  # `work` has returned it
            continue
        _go_on_with_less(what, len(waiting[0]), short)
        waiting = deque(_halved(waiting, 1))


def fitting_together(
    what: str, batches: Sequence[Batch], work: Callable[[Sequence[Batch]], Result],
    in_two: Callable[[Batch], Sequence[Batch]], size: Callable[[Batch], int],
) -> Result:  # fmt: skip
    """Do work that needs all batches at once, such as a sum over them; like `fitting` where memory is too small.

    Args:
        what: The kind of pass, for the message.
        batches: The batches.
        work: Goes through all batches; called anew, with smaller ones, where memory was too small.
        in_two: Cuts a batch into halves; a batch of one row it returns alone.
        size: Counts a batch's rows.

    Returns:
        What `work` returns.

    Raises:
        InputError: One row alone does not fit.
    """
    for _ in range(HALVINGS.get(what, 0)):
        batches = [half for batch in batches for half in in_two(batch)]
    while True:
        try:
            return work(batches)
        except torch.cuda.OutOfMemoryError as error:
            short = str(error).partition(".")[0]
        _go_on_with_less(what, max(map(size, batches)), short)
        batches = [half for batch in batches for half in in_two(batch)]


def _go_on_with_less(what: str, rows: int, short: str) -> None:
    """Free what a batch has left behind, and note that later ones are halved; refuse where it was a single row."""
    if rows == 1:
        raise InputError(
            f"{what}: one row alone does not fit in the GPU's memory ({short}); lower max_length, or free the GPU "
            "of other processes"
        )
    torch.cuda.empty_cache()  # outside the handler, where the error would have kept the batch's tensors
    if what not in HALVINGS:
        warnings.warn(
            f"{what}: {rows} rows do not fit in the GPU's memory ({short}); goes on with half as many, and fewer "
            "if need be",
            stacklevel=3,
        )
    HALVINGS[what] = HALVINGS.get(what, 0) + 1


def _halved(batches: Iterable[np.ndarray], times: int) -> list[np.ndarray]:
    """Cut each batch into 2 ** times parts, or into its rows if they are fewer."""
    return [part for batch in batches for part in np.array_split(batch, max(1, min(2**times, len(batch))))]


class Verdicts:
    """Checks of results: on a CPU each is read at once, elsewhere all together by `settle`, so that no batch waits."""

    def __init__(self) -> None:
        self.pending: list[tuple[torch.Tensor, Callable[[], Exception]]] = []

    def add(self, sound: torch.Tensor, error: Callable[[], Exception]) -> None:
        """Check something.

        Args:
            sound: Whether it is as it should be, a boolean scalar.
            error: Makes the error if it is not.

        Raises:
            Exception: That error, on a CPU.
        """
        if sound.device.type != "cpu":
            self.pending.append((sound, error))
        elif not sound:
            raise error()

    def settle(self) -> None:
        """Read the checks that are pending.

        Raises:
            Exception: The error of the first that failed.
        """
        pending, self.pending = self.pending, []
        if pending:
            sound = torch.stack([each for each, _ in pending]).tolist()
            for fine, (_, error) in zip(sound, pending, strict=True):
                if not fine:
                    raise error()


@contextmanager
def repeatable(device: Any, precision: str = "fp32") -> Iterator[None]:
    """Compute with kernels that give the same bits every time, and fp32 products as asked, while the context lasts.

    PyTorch's switches are of the whole process. Left on, they would refuse a user's own code (a cumulative sum of
    floats) and decide what a later pass computes by what ran before it. A user's own choice of TF32 (on a CPU: of bf16
    for fp32 products) would change results under the same key, so it is set aside too.

    Args:
        device: The device, or its name.
        precision: "tf32" rounds what goes into a GPU's fp32 products to TF32; any other leaves them in fp32.
    """
    with _products(precision == "tf32"):
        if kind(device) == "cuda":
            with _deterministic():
                yield
        else:  # all of a CPU's kernels repeat their bits
            yield


@contextmanager
def _products(tf32: bool) -> Iterator[None]:
    backends: Any = torch.backends
    kinds = (backends.cuda, "matmul"), (backends.mkldnn, "matmul"), (backends.cudnn, "conv"), (backends.mkldnn, "conv")
    switches = [getattr(backend, name) for backend, name in kinds if hasattr(backend, name)]
    switches = [switch for switch in switches if hasattr(switch, "fp32_precision")]  # PyTorch 2.9 and later
    before = [switch.fp32_precision for switch in switches]
    older = None if switches else torch.get_float32_matmul_precision()  # raises where a user has set the newer ones
    try:
        for switch in switches:
            switch.fp32_precision = "tf32" if tf32 and switch is backends.cuda.matmul else "ieee"
        if older:
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
        if older:
            torch.set_float32_matmul_precision(older)


@contextmanager
def _deterministic() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    fill: Any = torch.utils.deterministic  # a module whose switch is a property
    before = (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        fill.fill_uninitialized_memory,
    )  # fmt: skip
    try:
        torch.use_deterministic_algorithms(True)
        fill.fill_uninitialized_memory = False  # nothing here reads memory before it is written
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        fill.fill_uninitialized_memory = before[2]

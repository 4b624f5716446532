"""Arrays and tensors of run folders: sizes are checked before they are believed, and no object is unpickled."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Self

import numpy as np
from numpy.typing import DTypeLike

from auxlearn.errors import InputError
from auxlearn.files.bounded_files import MAX_BYTES, Value, converted, most_bytes, open_of

if TYPE_CHECKING:
    import torch

ARRAY_BYTES = 16 << 30  # of one archive's arrays, or AUXLEARN_MAX_BYTES; single arrays are mapped, not read
AGAIN = "make its run anew"
# What NumPy and zipfile raise on files that are not theirs.
FAULTS = (
    ValueError, TypeError, KeyError, SyntaxError, OverflowError, EOFError, OSError, struct.error, zlib.error,
    tokenize.TokenError, zipfile.BadZipFile, NotImplementedError, RuntimeError,
)  # fmt: skip


def arrays(path: Path, names: Iterable[str] = (), remedy: str = AGAIN) -> dict[str, np.ndarray]:
    """Read an .npz archive of numbers.

    Args:
        path: A file from anyone.
        names: Arrays that it must hold.
        remedy: What a message tells the user to do.

    Returns:
        All its arrays by name, of the shapes and types as saved.

    Raises:
        InputError: If the file is no such archive, is too large unpacked, holds anything but numbers, or lacks a name.
    """
    most = most_bytes(ARRAY_BYTES)

    def read(file: BinaryIO) -> dict[str, np.ndarray]:
        with zipfile.ZipFile(file) as packed:
            entries = packed.infolist()
            if sum(entry.file_size for entry in entries) > most:
                raise ValueError(f"more than {most:,} bytes unpacked; if it is sound, set {MAX_BYTES}")
            for entry in entries:
                with packed.open(entry) as member:
                    _header(member, entry.file_size)
        file.seek(0)
        with np.load(file, allow_pickle=False) as saved:
            return dict(saved)

    with open_of(path, remedy) as file:
        numbers = _converted(path, lambda: read(file), remedy)
    if missing := [name for name in names if name not in numbers]:
        raise InputError(f"{path}: holds no {missing[0]!r}; it has {', '.join(numbers)[:200]}; {remedy}")
    return numbers


def array(path: Path, remedy: str = AGAIN) -> np.ndarray:
    """Map an .npy file of numbers into memory.

    Args:
        path: A file from anyone.
        remedy: What a message tells the user to do.

    Returns:
        The array, mapped copy-on-write: what is written into it changes no file.

    Raises:
        InputError: If the file is no such array.
    """
    with open_of(path, remedy) as file:
        size = file.seek(0, 2)
        file.seek(0)
        _converted(path, lambda: _header(file, size), remedy)
    return _converted(path, lambda: np.asarray(np.load(path, mmap_mode="c", allow_pickle=False)), remedy)


class Appended:
    """An .npy file of one dimension that is written piece by piece, for a `with` statement.

    Args:
        path: The file, made anew.
        dtype: Type of its numbers.
    """

    def __init__(self, path: Path, dtype: DTypeLike):
        self.dtype, self.size = np.dtype(dtype), 0
        self._file = open(path, "wb")  # noqa: SIM115  # closed on leaving the `with` statement
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Write further values."""
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.size += len(values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()  # of the same length: NumPy leaves room for a first axis that grows
        self._file.close()

    def _write_header(self) -> None:
        form = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self._file, form)


def tensors(file: Path, device: str = "cpu", remedy: str = AGAIN) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file.

    Args:
        file: A file from anyone.
        device: Device to put the tensors on.
        remedy: What a message tells the user to do.

    Returns:
        Its tensors by name, and its metadata.

    Raises:
        InputError: If the file is not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    with open_of(file, remedy):
        pass
    try:
        with safe_open(file, "pt", device=device) as saved:
            return {name: saved.get_tensor(name) for name in saved.keys()}, saved.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{file}: not readable as safetensors ({error}); {remedy}") from None


def fitted(net: torch.nn.Module, state: Mapping[str, torch.Tensor], file: Path, remedy: str = AGAIN) -> None:
    """Load weights into a model.

    Args:
        net: The model to change.
        state: Its weights: every tensor of its state dict, of the same shape, and no other.
        file: Where they were read from, for the message.
        remedy: What a message tells the user to do.

    Raises:
        InputError: If a tensor is missing, unknown or of another shape; the model is then unchanged.
    """
    own = net.state_dict()
    for name in sorted(own.keys() | state.keys()):
        if name not in state or name not in own:
            raise InputError(f"{file}: {'no' if name in own else 'an unknown'} tensor {name[:200]!r}; {remedy}")
        if state[name].shape != own[name].shape:
            shapes = f"{tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            raise InputError(f"{file}: tensor {name!r} is {shapes}; {remedy}")
    net.load_state_dict(dict(state))


def _header(file: IO[bytes], size: int) -> None:
    """Check that an array in NumPy's format is of plain numbers and as large as it says; NumPy believes the header."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of NumPy's format")
    shape, _, dtype = getattr(np.lib.format, f"read_array_header_{version[0]}_0")(file)
    if dtype.kind not in "biuf" or dtype.subdtype is not None:
        raise ValueError(f"an array of {dtype}, not of numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"an array of {shape} {dtype}, which {size:,} bytes are not")


def _converted(path: Path, call: Callable[[], Value], remedy: str) -> Value:
    return converted(path, call, FAULTS, "readable as arrays", remedy)

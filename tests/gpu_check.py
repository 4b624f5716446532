"""What a machine with a GPU is asked, for whoever has one: `make gpu-check`, ten minutes, one JSON file to send back.

Are results those of the CPU, and the same bits when computed again? Does a step make the GPU wait? How much of its
measured matrix products do training and passes reach at BERT-base's size, and how fast is transformers' Trainer at the
same work? Weights are random and texts are made here, so that nothing is downloaded. Exit 0: every check holds; 1: one
does not; 2: there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auxlearn import cost, seeding
from auxlearn.cost import Ledger
from auxlearn.data import batching
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import builtin  # noqa: F401  # registers the discriminator's losses
from auxlearn.models import devices, multitask
from auxlearn.records import checkout
from auxlearn.signals import head_importance, row_signals
from auxlearn.studies.engine import gpu_leases
from auxlearn.training import prediction, shared_parameters, train

TASKS = ("topic_side", "side_share", "word_class")  # classification, regression, tagging
# The largest difference from the CPU in fp32, as a share of the largest value: sums in another order, and no more.
TOLERANCE = {"losses": 2e-3, "features": 1e-3, "logits": 1e-3, "importance": 1e-2, "products": 1e-2}
AIMS = {"training, share of peak": 0.5, "training, against Trainer": 1.5, "pool pass, share of peak": 0.5}


@dataclass(frozen=True)
class Size:
    """How large the work is."""

    checked: dict[str, int]  # shape of the encoder that is compared with the CPU's
    timed: dict[str, int]  # shape of the encoder that is timed
    rows: int  # of a timed epoch
    tokens: int  # of the longest text
    rounds: int
    product: tuple[int, int]  # rows and width of the matrix product that gives the peak
    every: int = 1  # of how many batches one is timed compiled


SMALL = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
FULL = Size(SMALL, {}, 4096, 128, 3, (16384, 768), 8)  # {}: what BertConfig has by itself, BERT-base's
DRY = Size(TINY, TINY, 48, 24, 1, (64, 32))


class Check:
    """One run of all checks.

    Args:
        device: "cuda", or "cpu" for a dry run.
        size: How large the work is.
        folder: Where encoders are put.
        seconds: After these nothing new is begun.
    """

    def __init__(self, device: str, size: Size, folder: Path, seconds: float):
        self.device, self.size, self.folder = device, size, folder
        self.end = time.monotonic() + seconds
        self.suite = Suite.from_yaml("planted").capped(200)
        self.answer: dict[str, Any] = {"dry_run": device == "cpu", "failed": []}

    def run(self) -> dict[str, Any]:
        """Run every part; one that fails is reported, and the others go on."""
        parts = (self.machine, self.results, self.repeats, self.waits, self.speed, self.compiled)
        for part in parts:
            name = part.__name__
            if time.monotonic() > self.end:
                self.answer[name] = {"left out": "the time was up"}
                continue
            begun = time.monotonic()
            try:
                self.answer[name] = part()
            except Exception as error:  # whatever it is, the file is to say so
                so_far = self.answer.get(name, {})
                self.answer[name] = so_far | {"error": repr(error), "trace": traceback.format_exc()[-2000:]}
                self.answer["failed"].append(f"{name}: {error!r}")
            print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
        return self.answer

    # --- parts -------------------------------------------------------------------------------------------------------

    def machine(self) -> dict[str, Any]:
        """Describe what computes."""
        import transformers

        found = {
            "python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
            "state": checkout.state(), "joules can be read": cost.energy([cost.card()]) is not None,
            "multiplies bf16": shared_parameters.has_bf16(self.device),
        }  # fmt: skip
        if self.device == "cuda":
            of = torch.cuda.get_device_properties(0)
            found |= {
                "gpu": of.name, "capability": [of.major, of.minor], "bytes": of.total_memory,
                "cuda": torch.version.cuda, "gpus": torch.cuda.device_count(),
            }  # fmt: skip
        return found

    def results(self) -> dict[str, Any]:
        """Compare with the CPU: losses of training, features, logits, head importance, products of gradients."""
        encoder = self.encoder("checked", self.size.checked, dropout=0.0)
        found: dict[str, Any] = {}
        for kind, changes in {
            "one task at a time": {}, "mixed": {"mixing": "mixed"}, "discriminator": {"discriminator": "ce"},
        }.items():  # fmt: skip
            losses = [self.losses(encoder, device, **changes) for device in ("cpu", self.device)]
            found[f"losses, {kind}"] = self.compared("losses", *losses)
        signals = [self.signals(encoder, device) for device in ("cpu", self.device)]
        for name, expected in signals[0].items():
            found[name] = self.compared(name.partition(",")[0], expected, signals[1][name])
        if shared_parameters.has_bf16(self.device):
            rounded = self.features(encoder, self.device, "bf16")
            found["features, bf16"] = {"difference": difference(self.features(encoder, "cpu", "fp32"), rounded)}
        return found

    def repeats(self) -> dict[str, Any]:
        """Train the same plan twice, with dropout: the same bits, and PyTorch's switch left as it was."""
        encoder = self.encoder("dropout", self.size.checked, dropout=0.1)
        first, second = (self.losses(encoder, self.device) for _ in range(2))
        same, left = bool((first == second).all()), torch.are_deterministic_algorithms_enabled()
        if not same or left:
            self.answer["failed"].append("a training gave other bits the second time, or left PyTorch's switch set")
        return {"same bits": same, "deterministic kernels still on": left}

    def waits(self) -> dict[str, Any]:
        """Count what makes the host wait for the GPU within an epoch of steps, and in a pass before its end."""
        encoder, found = self.encoder("checked", self.size.checked, dropout=0.0), {}
        seen: list[int] = []
        for name, changes in {
            "epoch of steps": {}, "epoch of mixed batches": {"mixing": "mixed"},
            "epoch with a discriminator": {"discriminator": "ce"},
        }.items():  # fmt: skip
            seen.clear()
            plan = self.plan(encoder, self.device, **changes)
            trainer = train.Trainer(plan, self.suite, None, lambda message: None)
            steps = trainer._train
            trainer._train = lambda *given, steps=steps: counted(lambda: steps(*given), seen)  # type: ignore
            with devices.repeatable(self.device):  # as a training has it
                trainer._phase(0, plan.phases[0], None)
            found[name] = sum(seen)
        net = multitask.build(encoder, self.suite).to(self.device).eval()
        task = self.suite["topic_side"]
        rows = batching.encode(task.train, task, net.tokenizer, net.max_length)
        for name, batches in {
            "scoring pass": prediction.outputs(net, rows, task),
            "head importance": head_importance.over_rows(net, rows, task),
        }.items():
            seen.clear()
            counted(lambda batches=batches: next(batches), seen)
            found[name] = sum(seen)
        if any(found.values()):
            self.answer["failed"].append(f"the host waits for the GPU: {found}")
        return found

    def speed(self) -> dict[str, Any]:
        """Time training, the pool pass and head importance against the machine's products, and against Trainer.

        What has been timed is in the answer when a later part fails.
        """
        suite = self.long_texts()
        encoder = self.encoder("timed", self.size.timed, dropout=0.1, suite=suite)
        precision = "bf16" if shared_parameters.has_bf16(self.device) else "fp32"
        found = self.answer["speed"] = {"precision": precision, "aims": AIMS, "peak, FLOP/s": {}}
        for each in dict.fromkeys((precision, "fp32")):
            found["peak, FLOP/s"][each] = self.peak(each)
        peak = found["peak, FLOP/s"][precision]
        found["tokens, median and most"] = self.lengths(suite, encoder)
        self.training(suite, encoder, precision, 0)  # warms up
        ways: dict[str, list[float]] = {}
        for seed in range(self.size.rounds):
            if ways and time.monotonic() > self.end:
                break
            mine = self.training(suite, encoder, precision, seed)
            timed(found, ways, "training, share of peak", mine.flops / mine.seconds / peak)
            timed(found, ways, "training, rows/s", self.size.rows / mine.seconds)
            found["training, peak bytes"], found["training, joules"] = mine.peak_bytes, mine.joules
            try:
                theirs = self.trainer(encoder, suite, precision, seed)
            except Exception as error:  # of another version, say: what is ours is timed all the same
                found["Trainer failed"] = repr(error)
                continue
            timed(found, ways, "training, against Trainer", theirs / mine.seconds)
        for kind in ("fp32", "tf32") if self.device == "cpu" or shared_parameters.has_tf32() else ():
            timed(
                found, ways, f"training in {kind}, rows/s",
                self.size.rows / self.training(suite, encoder, kind, 0).seconds,
            )  # fmt: skip
        net = multitask.build(encoder, suite).to(self.device).eval()
        rows = batching.encode(suite["texts"].train, suite["texts"], net.tokenizer, net.max_length)
        for name, reads, kind in (
            ("pool pass", ["features", "logits"], precision),
            ("importance", ["kv_rows"], "fp32"),
        ):
            self.passed(net, rows, suite, reads, kind)  # warms up
            for _ in range(self.size.rounds):
                ledger = self.passed(net, rows, suite, reads, kind)
                timed(found, ways, f"{name}, rows/s", len(rows) / ledger.seconds)
                timed(
                    found, ways, f"{name}, share of peak", ledger.flops / ledger.seconds / found["peak, FLOP/s"][kind]
                )
                found[f"{name}, peak bytes"] = ledger.peak_bytes
        found["aims missed"] = [name for name, aim in AIMS.items() if name in ways and found[name]["median"] < aim]
        return found

    def compiled(self) -> dict[str, Any]:
        """Time steps, without the optimiser's, with the encoder compiled by torch.compile and without.

        The library does not compile: on processors it gained nothing, and whether a GPU gains has not been seen yet.
        That it cannot be compiled here is no failure.
        """
        suite = self.long_texts()
        name, rate = ("timed", 0.1) if self.device == "cuda" else ("still", 0.0)  # a CPU's masks are NumPy's
        encoder = self.encoder(name, self.size.timed, dropout=rate, suite=suite)
        precision = "bf16" if shared_parameters.has_bf16(self.device) else "fp32"
        net, task = multitask.build(encoder, suite).to(self.device).train(), suite["texts"]
        rows = batching.encode(task.train, task, net.tokenizer, net.max_length)
        by_length = np.array_split(np.argsort(rows.lengths, kind="stable"), max(1, len(rows) // 32))[:: self.size.every]
        batches = [batching.to_batch(rows, at, task, net.columns["texts"], net.pad_id) for at in by_length]

        def seconds() -> float:
            start = cost.clock(self.device)
            for batch in batches:
                net.task_loss(batch, net(batch, precision).logits).backward()
                net.zero_grad(set_to_none=True)
            return cost.clock(self.device) - start

        found: dict[str, Any] = {"precision": precision, "batches": len(batches)}
        try:
            plain = net.encoder
            graphs = torch.compile(plain, dynamic=True, backend="inductor" if self.device == "cuda" else "eager")
            for name, body in (("plain", plain), ("compiled", graphs)):
                net.encoder = body
                found[f"{name}, first round in seconds"] = seconds()
                found[f"{name}, s/step"] = min(seconds() for _ in range(self.size.rounds)) / len(batches)
        except Exception as error:  # whatever a compiler meets
            return found | {"could not be compiled": repr(error)[:2000]}
        return found | {"times as fast": found["plain, s/step"] / found["compiled, s/step"]}

    # --- what parts are made of --------------------------------------------------------------------------------------

    def compared(self, kind: str, expected: np.ndarray, values: np.ndarray) -> dict[str, Any]:
        """Compare values with the CPU's, and note a difference that rounding does not explain."""
        apart = difference(expected, values)
        fine = apart <= TOLERANCE[kind]
        if not fine:
            self.answer["failed"].append(f"{kind} are {apart:.2g} from the CPU's, more than {TOLERANCE[kind]}")
        return {"difference": apart if np.isfinite(apart) else "not finite", "at most": TOLERANCE[kind], "holds": fine}

    def encoder(self, name: str, shape: Mapping[str, int], dropout: float, suite: Suite | None = None) -> str:
        """Put a BERT with random weights into a folder."""
        from transformers import BertConfig, BertModel

        folder = self.folder / name
        if not folder.is_dir():
            tokenizer = multitask.build("tiny", suite or self.suite).tokenizer
            rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                BertModel(BertConfig(vocab_size=len(tokenizer), **shape, **rates)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return str(folder)

    def plan(self, encoder: str, device: str, **changes: Any) -> train.Plan:
        """Plan one epoch over a few rows of every kind of task."""
        rows = {name: np.arange(48) for name in TASKS}
        phase = train.Phase("check", rows, 1, train.Recipe(1e-4, 16), **changes)
        return train.Plan(encoder, (phase,), seeding.record(0), device=device)

    def losses(self, encoder: str, device: str, **changes: Any) -> np.ndarray:
        """Return the losses of a short training's steps, float [steps, 2]."""
        made = train.run(self.plan(encoder, device, **changes), self.suite)
        return np.array([[step["task_loss"], step["disc_loss"] or 0.0] for step in made.steps])

    def signals(self, encoder: str, device: str) -> dict[str, np.ndarray]:
        """Read everything off some rows of each task."""
        net = multitask.build(encoder, self.suite).to(device).eval()
        probe = row_signals.targets(net, self.suite, {"topic_side": np.arange(24)})
        found = {}
        for name in TASKS:
            task = self.suite[name]
            rows = batching.encode(task.train.select(range(32)), task, net.tokenizer, net.max_length)
            values: dict[str, np.ndarray] = {}
            read = row_signals.over_rows(net, rows, task, row_signals.READS, probe=probe)
            for index, batch in devices.on_host(read):
                for kind, block in batch.items():
                    values.setdefault(kind, np.zeros((len(rows), *block.shape[1:]), np.float32))[index] = block
            found |= {f"{kind}, {name}": values[kind] for kind in ("features", "logits")}
            found |= {f"importance, {name}, {kind}": values[kind] for kind in head_importance.DEFINITIONS}
            found |= {f"products, {name}, {kind}": values[kind] for kind in ("dots", "squares")}
        return found

    def features(self, encoder: str, device: str, precision: str) -> np.ndarray:
        """Return features of one task's rows, float32 [N, d]."""
        net, task = multitask.build(encoder, self.suite).to(device).eval(), self.suite["topic_side"]
        rows = batching.encode(task.train, task, net.tokenizer, net.max_length)
        read = row_signals.over_rows(net, rows, task, ["features"], precision=precision)
        parts = [(index, values["features"]) for index, values in devices.on_host(read)]
        order = np.concatenate([index for index, _ in parts])
        return np.concatenate([values for _, values in parts])[np.argsort(order)]

    def long_texts(self) -> Suite:
        """Make a task of texts as long as those of sentence pairs: half below a third of the most, a tenth near it."""
        from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

        words = sorted({word for row in self.suite["topic_side"].train[self.suite["topic_side"].inputs[0]][:]
                        for word in row.split()})  # fmt: skip
        rng = np.random.default_rng(0)
        most = self.size.tokens - 2
        lengths = np.clip(np.exp(rng.normal(np.log(most / 3), 0.6, self.size.rows)), 4, most).astype(int)
        texts = [" ".join(rng.choice(words, n)) for n in lengths]
        labels = rng.integers(0, 2, self.size.rows).tolist()
        form = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
        whole = Dataset.from_dict({"text": texts, "label": labels}, features=form)
        short = whole.select(range(min(32, len(whole))))
        return Suite.from_datasets({"texts": DatasetDict(train=whole, validation=short)})

    def lengths(self, suite: Suite, encoder: str) -> list[int]:
        net = multitask.build(encoder, suite)
        rows = batching.encode(suite["texts"].train, suite["texts"], net.tokenizer, net.max_length)
        return [int(np.median(rows.lengths)), int(rows.lengths.max())]

    def peak(self, precision: str) -> float:
        """Measure FLOP/s of the feed-forward layer's matrix product."""
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        rows, width = self.size.product
        x, weight = (torch.randn(n, width, dtype=kind, device=self.device) for n in (rows, 4 * width))
        best = 0.0
        for number in range(4):  # the first warms up
            start = cost.clock(self.device)
            for _ in range(20):
                torch.nn.functional.linear(x, weight)
            took = cost.clock(self.device) - start
            best = max(best, 20 * 2 * x.numel() * len(weight) / took if number else 0.0)
        return best

    def training(self, suite: Suite, encoder: str, precision: str, seed: int) -> Ledger:
        """Train one epoch."""
        phase = train.Phase("timed", {"texts": np.arange(self.size.rows)}, 1, train.Recipe(1e-4, 32))
        plan = train.Plan(encoder, (phase,), seeding.record(seed), precision=precision, device=self.device)
        return train.run(replace(plan, threads=torch.get_num_threads()), suite).ledgers[0]

    def trainer(self, encoder: str, suite: Suite, precision: str, seed: int) -> float:
        """Return the seconds of transformers' Trainer for the same epoch, batches grouped by length."""
        from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

        tokenizer, rows = multitask.build(encoder, suite).tokenizer, suite["texts"].train
        encoded = tokenizer(rows["text"][:], truncation=True, max_length=128)
        data = [{k: v[i] for k, v in encoded.items()} | {"labels": y} for i, y in enumerate(rows["label"][:])]
        named = {each.name for each in fields(TrainingArguments)}
        by_length: dict[str, Any] = {"group_by_length": True}  # as releases before 5.2 called it
        if "train_sampling_strategy" in named:
            by_length = {"train_sampling_strategy": "group_by_length"}
        arguments = TrainingArguments(
            output_dir=str(self.folder / "out"), per_device_train_batch_size=32, num_train_epochs=1, learning_rate=1e-4,
            bf16=precision == "bf16", **by_length, use_cpu=self.device == "cpu",
            save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", seed=seed,
        )  # fmt: skip
        body = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
        collator = DataCollatorWithPadding(tokenizer)
        made = Trainer(model=body, args=arguments, train_dataset=data, data_collator=collator).train()
        return made.metrics["train_runtime"]

    def passed(
        self, net: multitask.MultiTaskModel, rows: batching.Encoded, suite: Suite, reads: list[str], precision: str
    ) -> Ledger:  # fmt: skip
        """Read all rows once."""
        ledger = Ledger("pass")
        with cost.Meter(ledger, self.device), devices.repeatable(self.device):
            read = row_signals.over_rows(net, rows, suite["texts"], reads, precision=precision, ledger=ledger)
            for _ in devices.on_host(read):
                pass
        return ledger


def timed(found: dict[str, Any], ways: dict[str, list[float]], name: str, value: float) -> None:
    """Add a value to those of its name, and put their median into what was found."""
    ways.setdefault(name, []).append(value)
    found[name] = {"median": statistics.median(ways[name]), "all": ways[name]}


def difference(expected: np.ndarray, values: np.ndarray) -> float:
    """Return the largest difference as a share of the largest expected value; infinite where one is not finite."""
    if expected.shape != values.shape or not np.isfinite(values).all():
        return float("inf")
    return float(np.abs(expected - values).max() / max(np.abs(expected).max(), 1e-12))


def counted(work: Callable[[], Any], seen: list[int]) -> Any:
    """Do some work, and add how often it made the host wait for the GPU to `seen`."""
    switch = torch.cuda.set_sync_debug_mode if torch.cuda.is_available() else lambda mode: None
    switch("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return work()
    finally:
        switch("default")
        seen.append(sum("synchroniz" in str(each.message) for each in caught))


def main(arguments: list[str] | None = None) -> int:
    """Run the checks and write their file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="at tiny size on the CPU, to see that the script works")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.json"), help="file to write and send back")
    parser.add_argument("--minutes", type=float, default=10.0, help="after these nothing new is begun")
    given = parser.parse_args(arguments)
    held = []
    if not given.dry_run and gpu_leases.devices():  # one alone, as Trainer would take all; and no study's
        try:
            held = gpu_leases.acquire(wait=0)
        except InputError as error:
            print(f"gpu-check: {error}")
            return 2
    if not (given.dry_run or torch.cuda.is_available()):
        print("gpu-check: PyTorch sees no CUDA device here. Run it on a machine with a GPU, or try --dry-run.")
        return 2
    with tempfile.TemporaryDirectory(prefix="auxlearn-gpu-check-") as folder:
        device, size = ("cpu", DRY) if given.dry_run else ("cuda", FULL)
        # A Trainer's epoch and a round of passes may still be under way when the time is up.
        answer = Check(device, size, Path(folder), 0.8 * 60 * given.minutes).run()
    for lease in held:
        lease.release()
    given.out.write_text(json.dumps(answer, indent=1, default=str) + "\n", encoding="utf-8")
    for failure in answer["failed"]:
        print(f"failed: {failure}")
    if problem := answer.get("speed", {}).get("Trainer failed"):
        print(f"Trainer could not be timed: {problem}")
    for name in answer.get("speed", {}).get("aims missed", []):
        print(f"below its aim: {name} {answer['speed'][name]['median']:.3g}, aim {AIMS[name]:g}")
    print(f"gpu-check: {'failed' if answer['failed'] else 'every check holds'}; please send back {given.out}")
    return int(bool(answer["failed"]))


if __name__ == "__main__":
    sys.exit(main())

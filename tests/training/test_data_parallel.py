"""Training in several processes: shares add up to the batch, and two processes equal one."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from transformers import BertConfig, BertModel

from auxlearn import seeding
from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.models import encoders, multitask
from auxlearn.signals import pass_store
from auxlearn.training import counting, data_parallel, launch, train, training_cache
from auxlearn.training.phases import Phase, Plan, Recipe, Rounds, Weighting

ROWS = {"topic_side": np.arange(30), "topic_name": np.arange(41), "word_class": np.arange(25)}
THIRD = (1 / 3, 1 / 3, 1 / 3)


@pytest.fixture(scope="module")
def encoder(planted, tmp_path_factory):
    """A small encoder on disk that drops nothing: with dropout every process draws masks of its own."""
    folder = tmp_path_factory.mktemp("encoder")
    made = multitask.build("tiny", planted.capped(80))
    config = BertConfig(**made.encoder.config.to_dict() | dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0))  # fmt: skip
    bare = BertModel(config, add_pooling_layer=False)
    bare.load_state_dict(made.encoder.state_dict())
    bare.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return str(folder)


def plan(encoder, processes, weighting=None, **phase):
    given = {"discriminator": None if weighting else "ce", "mixing": "mixed"} | phase
    made = Phase("joint", ROWS, 2, Recipe(lr=1e-3, batch_size=16), choose="holdout", weighting=weighting, **given)
    return Plan(
        encoder, (made,), seeding.record(0), "topic_side", np.arange(50, 80), pool="mean", processes=processes,
        keep_model=True,
    )  # fmt: skip


@pytest.mark.parametrize("size", [2, 3, 40])
def test_shares_of_a_batch_add_up_to_its_loss(small, encoder, size):
    """Also where a process has no row, and where a task's tokens are shared unevenly."""
    trainer = train.Trainer(plan(encoder, 1), small, None, print)
    data = {name: trainer._train_rows(name, rows, "joint") for name, rows in ROWS.items()}
    net, divisors = trainer.model.eval(), [1.0, 0.5, float("inf")]
    parts = [("word_class", np.arange(7)), ("topic_side", np.arange(3, 9)), ("topic_name", np.arange(2))]

    def loss(parts, divisors):
        batch = batching.join([
            batching.to_batch(data[n], rows, small[n], net.columns[n], net.pad_id) for n, rows in parts
        ], net.pad_id)  # fmt: skip
        return net.task_loss(batch, net(batch).logits, divisors).item()

    shares = [data_parallel.share(parts, data, divisors, rank, size) for rank in range(size)]
    assert sum(loss(*each) for each in shares if each[0]) == pytest.approx(loss(parts, divisors), rel=1e-5)
    taken = [(name, row) for each, _ in shares for name, rows in each for row in rows]
    assert sorted(taken) == sorted((name, row) for name, rows in parts for row in rows)
    counts = [sum(len(rows) for _, rows in each) for each, _ in shares]
    assert max(counts) - min(counts) <= 1


def test_a_plan_and_its_rows_come_back_as_they_were(small, encoder, tmp_path):
    weighting = Weighting(THIRD, chunks=2, chunk_rows=10, parts={"topic_name": np.arange(41) % 1})
    first = plan(encoder, 2, weighting).phases[0]
    more = Phase("rounds", ROWS, 3, Recipe(1e-3), rounds=Rounds(2), choose="last")
    order = Phase("ordered", ROWS, 1, Recipe(1e-3), order=np.array([0, 1, 2]))
    asked = Plan(encoder, (first, more, order), seeding.record(3), "topic_side", np.arange(50, 80), {"a": np.arange(3)})
    extra = {"only": {"a": np.array([3, 1])}, "plain": ["x", 2]}
    launch.write(asked, small, tmp_path / "job", extra)
    made, suite, again = launch.read(tmp_path / "job")
    assert again["only"]["a"].tolist() == [3, 1]
    assert again["plain"] == ["x", 2]
    assert made.key_content(suite) == asked.key_content(small)
    assert suite.names == small.names
    assert suite["word_class"].train[3] == small["word_class"].train[3]
    assert suite["word_class"].labels == small["word_class"].labels
    assert suite["side_share"].range == small["side_share"].range


MEASURED = Weighting(THIRD, rule="paper", chunks=1, chunk_rows=20, every=4)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("weightings", "frozen_layers"),
    [
        ([None, MEASURED], 0),  # a phase without and a phase with weights, in one start of the processes
        ([None], 0),
        ([None], 1),
        ([MEASURED], 0),
    ],
    ids=["both", "plain", "frozen", "weighted"],
)
def test_two_processes_equal_one(small, encoder, weightings, frozen_layers):
    phases = [replace(plan(encoder, 1, w).phases[0], name=f"joint {i}") for i, w in enumerate(weightings)]
    asked = replace(plan(encoder, 1), phases=tuple(phases), frozen_layers=frozen_layers)
    one, two = (training_cache.trained(replace(asked, processes=processes), small) for processes in (1, 2))
    assert bool(one.updates) == (MEASURED in weightings)
    assert {"joint 0", f"joint {len(phases) - 1}"} == set(one.history["phase"])
    assert one.manifest.key != two.manifest.key
    for column in ("task_loss", "disc_loss"):
        assert two.steps[column].to_numpy() == pytest.approx(one.steps[column].to_numpy(), abs=2e-4)
    assert two.steps["task"].tolist() == one.steps["task"].tolist()
    assert [row["step"] for row in two.updates] == [row["step"] for row in one.updates]
    for theirs, mine in zip(two.updates, one.updates, strict=True):
        assert theirs["weights"] == pytest.approx(mine["weights"], abs=1e-3)
    models = [pass_store.load_model(each.manifest, asked, small).state_dict() for each in (one, two)]
    for name, value in models[0].items():
        assert torch.allclose(models[1][name], value, atol=2e-3), name
    ledgers = [[replace(row, seconds=0.0, peak_bytes=0) for row in each.ledgers] for each in (one, two)]
    assert ledgers[0] == ledgers[1]
    config, tokenizer = encoders.described(encoder)
    lengths = counting.tokens(small, tokenizer, encoders.most_tokens(config, asked.max_length))
    assert counting.count(replace(asked, processes=2), lengths, config) == ledgers[1]
    assert sorted(p.name for p in two.manifest.path("history.json").parent.iterdir()) == sorted(
        p.name for p in one.manifest.path("history.json").parent.iterdir()
    )


# That both processes raise one error is in `test_scoring` too, and a training's error in
# `test_an_error_of_one_process_ends_the_others`.
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_error_in_a_process_is_the_same_clear_error(small, encoder, tmp_path):
    hot = Phase("joint", ROWS, 1, Recipe(lr=1e30, batch_size=16))
    asked = Plan(encoder, (hot,), seeding.record(0), "topic_side", processes=2, pool="mean")
    with pytest.raises(InputError, match="not finite"):
        launch.train(asked, small, tmp_path)


# Dies as a process does that finds nothing to read, but before it has imported anything of ours.
DYING = "open('job.json')"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dies_in", ["a script", pytest.param("worker", marks=pytest.mark.slow)])
def test_a_process_that_dies_names_its_log(small, encoder, tmp_path, monkeypatch, dies_in):
    monkeypatch.setattr(
        launch, "write", lambda plan, suite, folder, asked: folder.mkdir(parents=True)
    )  # nothing to read
    if dies_in == "a script":
        in_place_of_worker(DYING, tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"2 training processes died .*processes\.log"):
        launch.train(plan(encoder, 2), small, tmp_path)
    assert "job.json" in (tmp_path / launch.LOG).read_text()


def in_place_of_worker(text, folder, monkeypatch):
    """torchrun is to start this script and not the module `worker`."""
    script = folder / "script.py"
    script.write_text(text)
    real = launch.processes.command
    monkeypatch.setattr(launch.processes, "command", lambda *given: real(*given[:-3], script, given[-1]))


LONG = """
import sys
from pathlib import Path
from auxlearn import seeding
from auxlearn.data import suites
from auxlearn.training import launch
from auxlearn.training.phases import Phase, Plan, Recipe
import numpy as np
suite = suites.Suite.from_yaml("planted").capped(80)
phase = Phase("tune", {"topic_side": np.arange(60)}, 10_000, Recipe(lr=1e-3, batch_size=16))
plan = Plan("tiny", (phase,), seeding.record(0), "topic_side", processes=2)
launch.train(plan, suite, Path(sys.argv[1]), lambda message: print(message, flush=True))
"""


# Process 1 refuses to train while process 0 waits for its share of the first batch.
ALONE = """
import os, sys
from pathlib import Path
from auxlearn.errors import InputError
from auxlearn.training import training_cache, worker

class Refusing:
    def run(self, *given):
        raise InputError("this one alone")

if os.environ["RANK"] == "1":
    training_cache.trainer = lambda plan: Refusing()
worker.work(Path(sys.argv[1]))
"""


@pytest.mark.timeout(300)
def test_an_error_of_one_process_ends_the_others(small, encoder, tmp_path, monkeypatch):
    in_place_of_worker(ALONE, tmp_path, monkeypatch)
    with pytest.raises(InputError, match="this one alone"):
        launch.train(plan(encoder, 2), small, tmp_path)


@pytest.mark.timeout(300)
def test_they_end_with_the_process_that_started_them(tmp_path):
    def workers():
        named = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
        return sum("auxlearn.training.worker" in words and str(tmp_path) in words for words in named)

    starter = subprocess.Popen([sys.executable, "-c", LONG, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert "epoch 1/" in starter.stdout.readline()
        assert workers() >= 2
    finally:
        starter.kill()
        starter.wait()
    end = time.monotonic() + 30
    while workers() and time.monotonic() < end:
        time.sleep(0.1)
    assert not workers(), "training processes outlived the process that started them"


def test_more_processes_are_more_cores_for_the_engine(tmp_path):
    import yaml

    from auxlearn.studies import graph

    base = {"suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "threads": 2}
    content = {
        "study": "s",
        "base": base | {"processes": 3, "seeds": [0]},
        "stages": ["06_mtl"],
        "grid": {"arm": ["joint"]},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    (cell,) = graph.as_plan(graph.load(tmp_path / "s.yaml"))["cells"]
    assert cell["threads"] == 6
    assert json.dumps(cell["params"])


ADDED = """
import json, sys
import torch
from torch import distributed
from auxlearn.training import data_parallel

rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
mine, theirs, both, nobody = parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(4)]
still = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
own = (mine, theirs)[rank]
heads = {"mine": [mine], "theirs": [theirs], "a task of no row": [torch.nn.Parameter(torch.zeros(2))]}
sums = data_parallel.GradientSums([*parameters, *heads["a task of no row"], still], heads, bucket=2)
asked, real = [], distributed.all_reduce
def all_reduce(values, op=distributed.ReduceOp.SUM, async_op=False):
    asked.append(op == distributed.ReduceOp.MAX)
    return real(values, op, async_op=async_op)
distributed.all_reduce = all_reduce

def backward():
    ((own * (torch.tensor([1.0, 2.0]) + rank)) + both * torch.tensor([10.0, 20.0]) * (rank + 1)).sum().backward()
    return len(sums._waiting)

found = []
for step in range(2):
    early = sums.step(["mine", "theirs"], backward)
    found.append([early, sum(asked), [None if p.grad is None else p.grad.tolist() for p in parameters]])
    for p in parameters:
        p.grad = None
none = sums.step(["mine"], lambda: 0) if rank else sums.step(["mine"], backward)
assert heads["a task of no row"][0].grad is None
assert theirs.grad is None, "its task is not in the batch"
alone = [None if p.grad is None else p.grad.tolist() for p in parameters]
sums.close()
own.sum().backward()
assert sum(asked) == 1
print(json.dumps([found, alone, data_parallel.agreed(rank, None, 0.1 + rank), data_parallel.gathered(rank)]))
distributed.destroy_process_group()
"""


@pytest.mark.timeout(120)
def test_gradients_that_one_process_alone_has_reach_the_other(tmp_path):
    """As of a head whose task's rows all fell to one process; a parameter that nobody has used stays without one.

    From the second step on nothing is asked, whatever the tasks, and sums are sent while the backward pass goes on.
    What is not trained has no part in it.
    """
    command = [sys.executable, "-c", ADDED]
    started = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    found = [json.loads(process.communicate(timeout=90)[0]) for process in started]
    added = [[1.0, 2.0], [2.0, 3.0], [30.0, 60.0], None]
    alone = [[1.0, 2.0], None, [10.0, 20.0], None]
    for rank, (steps, of_one, agreed, gathered) in enumerate(found):
        assert steps[0] == [0, 1, added]
        assert steps[1] == [1 + rank, 1, added]  # the second bucket is one of which the first process has no part
        assert of_one == alone
        assert agreed == [0, None, 0.1]
        assert gathered == [0, 1]


@pytest.mark.parametrize("bucket", [1, 3, 5, 100])
def test_gradients_are_added_up_once_whatever_fits_one_call(monkeypatch, bucket):
    """As with a second process whose gradients are the same: every sum is twice what was there."""
    calls = []

    def all_reduce(values, op=torch.distributed.ReduceOp.SUM, async_op=False):
        if op == torch.distributed.ReduceOp.SUM:
            calls.append(len(values))
            values.mul_(2)
        return SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(data_parallel.distributed, "all_reduce", all_reduce)
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in (4, 1, 2, 2)]
    used = {3: 1.0, 1: 3.0, 0: 4.0}  # the third by nobody
    sums = data_parallel.GradientSums(parameters, bucket=bucket)
    for step in range(2):
        calls.clear()
        sums.step(["any"], lambda: sum(parameters[at].sum() * slope for at, slope in used.items()).backward())
        got = [None if p.grad is None else p.grad.tolist() for p in parameters]
        assert got == [[8] * 4, [6], None, [2, 2]], step
        assert calls == {1: [2, 1, 4], 3: [3, 4], 5: [7], 100: [7]}[bucket]
        for p in parameters:
            p.grad = None

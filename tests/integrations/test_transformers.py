"""A stock Trainer with a model of one's own takes a selection's rows and weights."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from auxlearn import seeding
from auxlearn.data.tokens import token_store
from auxlearn.errors import InputError
from auxlearn.integrations import transformers as aux
from auxlearn.methods.tawt import cosine
from auxlearn.methods.tawt.weight_rule import Updater
from auxlearn.models import multitask
from auxlearn.paths import PROJECT
from auxlearn.signals.gradient_moments import Moments

DOCS = PROJECT / "docs"
PRIMARY = "topic_side"
AUXILIARIES = ("topic_name", "word_class")


class Own(nn.Module):
    """A user's model: word vectors, their mean, and a head per task, of which the row's own gives its logits."""

    def __init__(self, vocabulary, classes, tagging=()):
        super().__init__()
        torch.manual_seed(0)
        self.base_model = nn.Embedding(vocabulary, 16)
        self.heads = nn.ModuleList([nn.Linear(16, n) for n in classes])
        self.dropout, self.width = nn.Dropout(0.1), max(classes)

    def forward(self, input_ids, attention_mask=None, task_ids=None, token_type_ids=None):
        mask = attention_mask[..., None].float()
        features = self.dropout((self.base_model(input_ids) * mask).sum(1) / mask.sum(1))
        logits = features.new_full((len(features), self.width), -30.0)
        for number, head in enumerate(self.heads):
            rows = task_ids == number
            logits[rows, : head.out_features] = head(features[rows])
        return {"logits": logits}


@pytest.fixture(scope="module")
def tokenizer(small):
    return multitask.build("tiny", small).tokenizer


@pytest.fixture(scope="module")
def chosen():
    return pd.DataFrame({"task": ["topic_name"] * 40 + ["cross_group"] * 24, "row": [*range(40), *range(24)]})


@pytest.fixture(scope="module")
def rows(small, chosen, tokenizer):
    return aux.training_rows(small, chosen, PRIMARY, tokenizer, own=np.arange(48))


@pytest.fixture(scope="module")
def held_out(small, tokenizer):
    return aux.training_rows(small, None, PRIMARY, tokenizer, own=np.arange(48, 80))


def trainer(rows, tokenizer, folder, loss, callbacks=(), kind=None, **given):
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        str(folder), remove_unused_columns=False, report_to=[], use_cpu=True, disable_tqdm=True, seed=0,
        **({"per_device_train_batch_size": 16, "max_steps": 12, "learning_rate": 0.02, "save_strategy": "no",
            "logging_strategy": "no"} | given),
    )  # fmt: skip
    model = Own(len(tokenizer), [2, 4, 4])
    return (kind or Trainer)(
        model, arguments, train_dataset=rows, data_collator=aux.Collator(tokenizer, task_ids=True),
        compute_loss_func=loss, callbacks=list(callbacks),
    )  # fmt: skip


def state(trained):
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


@dataclass
class Selected:
    """What `auxlearn.select` returns, as far as it is read."""

    table: pd.DataFrame


def test_a_selection_is_taken_as_its_table_is(small, chosen, rows, tokenizer):
    taken = aux.training_rows(small, Selected(chosen), PRIMARY, tokenizer, own=np.arange(48))
    assert taken.tasks == rows.tasks
    assert [taken[i] for i in range(len(taken))] == [rows[i] for i in range(len(rows))]


def test_rows_of_another_cap_are_refused_by_their_ids(small, planted, tokenizer):
    """Rows of a capped suite lie elsewhere in the whole one, where other rows stand at their places."""
    ids = [small["topic_name"].train[row]["row_id"] for row in range(5)]
    chosen = pd.DataFrame({"task": "topic_name", "row": range(5), "row_id": ids})
    assert aux.training_rows(small, chosen, PRIMARY, tokenizer).of("topic_name").size == 5
    with pytest.raises(InputError, match=r"chosen row \d+: 'topic_name' row \d+ has row_id .*, not .* another suite"):
        aux.training_rows(planted.capped(200), chosen, PRIMARY, tokenizer)


@pytest.mark.parametrize(
    ("given", "own", "words"),
    [
        ([3, 4], None, "chosen: give a selection, or a DataFrame with columns task and row, not list"),
        (pd.DataFrame({"task": ["topic_name"], "row_id": [1]}), None, "not columns task, row_id"),
        (pd.DataFrame({"task": ["topic_name"] * 2, "row": [1, 10**6]}), None,
         "chosen: 'topic_name' has no training row 1000000, it has [0-9]+; give positions"),
        (pd.DataFrame({"task": ["topic_name"], "row": [-1]}), None, "chosen: 'topic_name' has no training row -1"),
        (None, np.array([0, -2]), "own: 'topic_side' has no training row -2"),
    ],
)  # fmt: skip
def test_rows_that_are_not_there_are_named(small, tokenizer, given, own, words):
    with pytest.raises(InputError, match=words):
        aux.training_rows(small, given, PRIMARY, tokenizer, own=own)


def test_rows_are_the_primary_s_and_the_chosen_ones_as_their_tokenizer_reads_them(rows, small, tokenizer):
    assert rows.tasks == [PRIMARY, "topic_name", "cross_group"]
    assert np.bincount(rows.task_ids).tolist() == [48, 40, 24]
    row, source = rows[48 + 3], small["topic_name"].train[3]
    own = tokenizer(source["sentence1"], source["sentence2"])
    assert row["input_ids"] == own["input_ids"]
    assert row["token_type_ids"] == own["token_type_ids"]
    assert (row["labels"], row["task"], row["weight"]) == (source["label"], 1, 1.0)
    assert rows.of("cross_group").tolist() == list(range(88, 112))


def test_tags_are_padded_on_the_tokenizer_s_side(small, tokenizer):
    encoded = token_store.encoded(small["word_class"], "train", tokenizer, 128, rows=np.arange(4))
    tagged = aux.Rows(small, {"word_class": encoded}, {"word_class": np.array([1, 0, 2, 0.5])})
    batch = aux.Collator(tokenizer)([tagged[i] for i in range(4)])
    labels, mask = batch["labels"]["labels"], batch["attention_mask"]
    assert labels.shape == batch["input_ids"].shape
    for i in range(4):
        assert labels[i][labels[i] != -100].tolist() == small["word_class"].train[i]["tags"]
        assert (labels[i][mask[i] == 0] == -100).all()
    assert batch["labels"]["weight"].tolist() == [1, 0, 2, 0.5]
    assert "task_ids" not in batch


def test_the_loss_is_the_mean_of_weighted_row_losses():
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.5, 0.5]]), torch.tensor([1, 1, -100])
    each = torch.nn.functional.cross_entropy(logits[:2], labels[:2], reduction="none")
    packed = {"labels": labels, "task": torch.tensor([0, 1, 0]), "weight": torch.tensor([2.0, 1.0, 1.0])}
    loss = aux.WeightedLoss(["a", "b"], {"b": 0.5})
    assert loss({"logits": logits}, packed).item() == pytest.approx(((2 * each[0] + 0.5 * each[1]) / 3).item())
    assert loss((logits,), labels).item() == pytest.approx((each.sum() / 3).item())
    assert aux.WeightedLoss(["a"], accumulation=4)((logits,), labels).item() == pytest.approx((each.sum() / 12).item())
    for none in (0, -1):
        with pytest.raises(InputError, match=f"accumulation: {none} batches make no step"):
            aux.WeightedLoss(["a"], accumulation=none)
    numbers = torch.tensor([1.5, float("nan")])
    assert aux.row_losses(torch.tensor([[1.0], [9.0]]), numbers).tolist() == [0.25, 0.0]


def test_a_stock_trainer_trains_on_them_and_a_task_without_weight_moves_nothing(rows, tokenizer, tmp_path):
    loss = aux.WeightedLoss(rows.tasks, {"cross_group": 0.0})
    mine = trainer(rows, tokenizer, tmp_path, loss, max_steps=40)
    before = state(mine)
    result = mine.train()
    after = state(mine)
    assert torch.equal(before["heads.2.weight"], after["heads.2.weight"])
    assert not torch.equal(before["heads.1.weight"], after["heads.1.weight"])
    assert result.training_loss < np.log(4) * 0.9


def test_accumulated_batches_train_as_one_large_batch(rows, tokenizer, tmp_path):
    def trained(accumulation):
        loss = aux.WeightedLoss(rows.tasks, accumulation=accumulation)
        mine = trainer(
            rows, tokenizer, tmp_path, loss, per_device_train_batch_size=16 // accumulation, max_steps=3,
            gradient_accumulation_steps=accumulation, optim="sgd", max_grad_norm=0.0,
        )  # fmt: skip
        mine.model.dropout.p = 0.0
        mine.train()
        return state(mine)

    whole, parts = trained(1), trained(2)
    for name, value in whole.items():
        assert torch.allclose(value, parts[name], atol=1e-6), name


def test_a_sampler_draws_tasks_by_share_and_every_row_before_any_again(rows):
    sampler = aux.TaskSampler(rows, {PRIMARY: 3, "topic_name": 1}, seed=4)
    first, second = list(sampler), list(sampler)
    assert first != second
    again = aux.TaskSampler(rows, {PRIMARY: 3, "topic_name": 1}, seed=4)
    assert list(again) == first
    again.set_epoch(0)
    assert list(again) == first
    tasks = rows.task_ids[first]
    assert len(first) == len(rows) == len(sampler)
    assert 0.6 < (tasks == 0).mean() < 0.9
    assert not (tasks == 2).any()
    counts = np.bincount(first, minlength=len(rows))[rows.of(PRIMARY)]
    assert counts.max() - counts.min() <= 1


def test_a_trainer_takes_the_sampler(rows, tokenizer, tmp_path):
    from transformers import Trainer

    sampler = aux.TaskSampler(rows, {PRIMARY: 1})

    class Sampled(Trainer):
        def _get_train_sampler(self, *args):
            return sampler

    mine = trainer(rows, tokenizer, tmp_path, aux.WeightedLoss(rows.tasks), kind=Sampled)
    before = state(mine)
    mine.train()
    assert torch.equal(before["heads.1.weight"], state(mine)["heads.1.weight"])
    assert not torch.equal(before["heads.0.weight"], state(mine)["heads.0.weight"])


def test_tawt_measures_the_cosines_of_the_tasks_gradients(rows, held_out, tokenizer, tmp_path):
    """Against gradients of each chunk by `backward`, products and all."""
    loss = aux.WeightedLoss(rows.tasks)
    tawt = aux.Tawt(rows, loss, held_out, aux.Collator(tokenizer, task_ids=True), chunks=2, chunk_rows=8, seed=3)
    model = Own(len(tokenizer), [2, 4, 4]).train()
    values, errors = tawt.measure(model, 5)
    assert model.training
    assert model.dropout.training
    assert all(p.grad is None for p in model.parameters())
    drawn, gradients = {}, {}
    real = tawt._gradients
    tawt._gradients = lambda m, p, r, among, step, what: drawn.setdefault(what, real(m, p, r, among, step, what))
    tawt.measure(model, 5)
    model.eval()
    for what in ("target", *rows.tasks):
        source, among = (held_out, np.arange(32)) if what == "target" else (rows, rows.of(what))
        order = seeding.rng(3, "sample", "tawt", what, 5).permutation(among)[:16]
        gradients[what] = []
        for part in (order[:8], order[8:]):
            batch = aux.Collator(tokenizer, task_ids=True)([source[int(i)] for i in part])
            model.zero_grad()
            logits = model(**{k: v for k, v in batch.items() if k != "labels"})["logits"]
            torch.nn.functional.cross_entropy(logits, batch["labels"]["labels"]).backward()
            gradients[what].append(model.base_model.weight.grad.double().flatten().numpy().copy())
    target = np.array(gradients["target"])
    for at, name in enumerate(rows.tasks):
        own = np.array(gradients[name])
        value, error = cosine.debiased(Moments(target @ own.T, target @ target.T, own @ own.T))
        assert values[at] == pytest.approx(value, rel=1e-4, nan_ok=True)
        assert errors[at] == pytest.approx(error, rel=1e-4, nan_ok=True)


def test_tawt_moves_weights_in_a_stock_trainer_to_what_resembles_the_primary(small, tokenizer, tmp_path):
    """A twin of the primary under another head, and its copy with turned labels: weights tell them apart."""

    def few_words(seed, turn=0):
        """Rows of three words of eight, of which the first says the label."""
        encoded = token_store.encoded(small[PRIMARY], "train", tokenizer, 128)
        ids = np.random.default_rng(seed).integers(10, 18, (len(encoded), 3))
        flat = {"ids": ids.flatten(), "types": np.zeros(ids.size, int), "starts": np.arange(0, ids.size + 1, 3)}
        labels = (ids[:, 0] + turn) % 2
        return replace(encoded, **flat, labels=labels)

    rows = aux.Rows(small, {PRIMARY: few_words(0), "topic_name": few_words(1), "cross_group": few_words(2, turn=1)})
    held_out = aux.Rows(small, {PRIMARY: few_words(3)})
    loss = aux.WeightedLoss(rows.tasks)
    tawt = aux.Tawt(
        rows, loss, held_out, aux.Collator(tokenizer, task_ids=True), every=4, chunk_rows=40,
        updater=Updater(eta=0.5, tau=0.5),
    )  # fmt: skip
    mine = trainer(rows, tokenizer, tmp_path, loss, [tawt], max_steps=24)
    # One head for all three: then gradients of the twin and of its turned copy are opposite.
    for head in mine.model.heads:
        with torch.no_grad():
            head.weight[:2] = mine.model.heads[0].weight
    mine.train()
    assert [row["step"] for row in tawt.weights.history] == [4, 8, 12, 16, 20, 24]
    weights = dict(zip(rows.tasks, tawt.weights.values, strict=True))
    assert weights["topic_name"] > 2 * weights["cross_group"]
    assert loss.task_weights == pytest.approx({name: 3 * w for name, w in weights.items()})


def test_a_trainer_that_goes_on_from_a_checkpoint_has_the_weights_it_had(rows, held_out, tokenizer, tmp_path):
    def prepared(folder):
        loss = aux.WeightedLoss(rows.tasks)
        tawt = aux.Tawt(rows, loss, held_out, aux.Collator(tokenizer, task_ids=True), every=3, chunk_rows=12)
        return trainer(rows, tokenizer, folder, loss, [tawt], save_strategy="steps", save_steps=6), tawt

    whole, first = prepared(tmp_path / "a")
    whole.train()
    resumed, second = prepared(tmp_path / "a")
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-6"))
    assert second.weights.history == first.weights.history
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(whole).items())
    (tmp_path / "a" / "checkpoint-6" / aux.STATE).unlink()
    with pytest.raises(InputError, match=r"checkpoint-6.*holds no task weights; train from the start"):
        prepared(tmp_path / "a")[0].train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-6"))


def test_what_does_not_fit_is_refused(rows, held_out, small, chosen, tokenizer):
    collator, loss = aux.Collator(tokenizer), aux.WeightedLoss(rows.tasks)
    with pytest.raises(InputError, match="chosen: 'topic_side' is no auxiliary"):
        aux.training_rows(small, chosen.assign(task=PRIMARY), PRIMARY, tokenizer)
    with pytest.raises(
        InputError, match="weights: 'topic_name' needs one number of 0 or above for each of its 40 rows"
    ):
        aux.training_rows(small, chosen, PRIMARY, tokenizer, weights={"topic_name": -np.ones(40)})
    with pytest.raises(InputError, match="weights: no row of 'look_alike' is here"):
        aux.training_rows(small, chosen, PRIMARY, tokenizer, weights={"look_alike": np.ones(3)})
    with pytest.raises(InputError, match="task_weights: no task is called 'topic'"):
        loss.task_weights = {"topic": 1.0}
    with pytest.raises(InputError, match=r"'topic_name' has -1\.0; it must be 0 or above"):
        aux.WeightedLoss(rows.tasks, {"topic_name": -1.0})
    with pytest.raises(InputError, match="shares: no row of 'look_alike' is here"):
        aux.TaskSampler(rows, {"look_alike": 1})
    with pytest.raises(InputError, match="tawt: 'cross_group' has fewer rows than the 30 chunks"):
        aux.Tawt(rows, loss, held_out, collator, chunks=30)


def test_checkpoints_hold_json(rows, held_out, tokenizer, tmp_path):
    loss = aux.WeightedLoss(rows.tasks)
    tawt = aux.Tawt(rows, loss, held_out, aux.Collator(tokenizer, task_ids=True), every=2, chunk_rows=8)
    trainer(rows, tokenizer, tmp_path, loss, [tawt], max_steps=2, save_strategy="steps", save_steps=2).train()
    saved = json.loads((tmp_path / "checkpoint-2" / aux.STATE).read_text())
    assert saved["names"] == rows.tasks
    assert len(saved["history"]) == 1


def test_the_page_s_example_runs(small, chosen, tokenizer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "trainer.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    model = Own(len(tokenizer), [2, 4, 4])
    exec(
        compile(code, "trainer.md", "exec"), {"suite": small, "chosen": chosen, "tokenizer": tokenizer, "model": model}
    )
    assert "'topic_name': " in capsys.readouterr().out


def test_a_trainer_evaluates_on_rows_with_plain_labels(rows, small, tokenizer, tmp_path):
    from transformers import Trainer

    one_head = Own(len(tokenizer), [2])
    plain = [{"input_ids": rows[i]["input_ids"], "labels": rows[i]["labels"]} for i in range(10)]
    forward = one_head.forward
    one_head.forward = lambda input_ids, attention_mask=None, **more: forward(
        input_ids, attention_mask, torch.zeros(len(input_ids), dtype=torch.int64)
    )
    mine = trainer(rows, tokenizer, tmp_path, aux.WeightedLoss(rows.tasks), label_names=["labels"])
    mine = Trainer(
        one_head, mine.args, data_collator=aux.Collator(tokenizer), compute_loss_func=aux.WeightedLoss(rows.tasks),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )  # fmt: skip
    scores = mine.evaluate(plain)
    assert 0 <= scores["eval_accuracy"] <= 1
    assert scores["eval_loss"] > 0


def test_positions_are_whole_numbers_and_a_mask_stands_for_its_rows(small, tokenizer):
    """A mask would else be read as positions 0 and 1."""
    mask = np.zeros(len(small[PRIMARY].train), bool)
    mask[[3, 5, 8]] = True
    made = aux.training_rows(small, None, PRIMARY, tokenizer, own=mask)
    same = aux.training_rows(small, None, PRIMARY, tokenizer, own=[3, 5, 8])
    assert [made[i]["input_ids"] for i in range(len(made))] == [same[i]["input_ids"] for i in range(len(same))]
    assert len(made) == 3
    assert len(aux.training_rows(small, None, PRIMARY, tokenizer, own=[])) == 0
    for own in (mask[:-1], [0.0, 1.0], [[0, 1]], ["0"]):
        with pytest.raises(InputError, match="own: give positions in the train split, whole numbers in one list"):
            aux.training_rows(small, None, PRIMARY, tokenizer, own=own)
    floats = pd.DataFrame({"task": ["topic_name"], "row": [1.0]})
    with pytest.raises(InputError, match="chosen: rows of 'topic_name': give positions"):
        aux.training_rows(small, floats, PRIMARY, tokenizer)


def test_the_loss_of_an_evaluation_is_not_divided_by_the_batches_of_a_step():
    labels, logits = torch.zeros(3, dtype=torch.long), torch.randn(3, 2)
    one, four = aux.WeightedLoss(["a"]), aux.WeightedLoss(["a"], accumulation=4)
    assert four((logits,), labels).item() == pytest.approx(one((logits,), labels).item() / 4)
    with torch.no_grad():
        assert four((logits,), labels).item() == one((logits,), labels).item()


def test_starting_weights_are_of_every_task_and_of_no_other(small, rows, tokenizer):
    held, loss = aux.training_rows(small, None, PRIMARY, tokenizer, own=np.arange(48, 60)), aux.WeightedLoss(rows.tasks)
    collator = aux.Collator(tokenizer)
    even = dict.fromkeys(rows.tasks, 1.0)
    assert aux.Tawt(rows, loss, held, collator, prior=even, chunk_rows=4).weights.names == list(rows.tasks)
    for prior in (even | {"cross_gruop": 1.0}, {PRIMARY: 1.0, "topic_name": 1.0}):
        with pytest.raises(InputError, match=f"prior: weights for {', '.join(prior)}, but the tasks are {PRIMARY}, "):
            aux.Tawt(rows, loss, held, collator, prior=prior, chunk_rows=4)

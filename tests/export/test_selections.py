"""What leaves the project can be read, and gives the same answers, without it."""

import csv
import hashlib
import json
import re
from dataclasses import replace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from auxlearn.data import auxiliary_rows, batching, suites
from auxlearn.errors import InputError
from auxlearn.export import models, selections
from auxlearn.models import multitask
from auxlearn.training import prediction

# --- selections --------------------------------------------------------------------------------------------------


@pytest.fixture
def chosen(small):
    """Rows of four tasks, one of them tagging, in rank order."""
    places = [("topic_mixed", 3), ("word_class", 0), ("side_share", 79), ("topic_mixed", 0), ("away_topic", 11)]
    rows = [{"task": t, "row": r, "row_id": small[t].train[r]["row_id"]} for t, r in places]
    return pd.DataFrame(rows).assign(
        score=np.array([2.5, 1, 0.5, -0.25, -3], np.float32),
        rank=range(1, 6),
        helpful=[True, False, False, True, False],
    )


def test_a_selection_in_four_formats(small, chosen, tmp_path):
    paths = selections.selection(chosen, small, "topic_side", tmp_path / "out")
    assert [p.name for p in paths] == ["selection.parquet", "selection.csv", "dataset", "rank_json"]
    assert all(p.exists() for p in paths)

    table = pd.read_parquet(paths[0])
    assert list(table) == ["task", "row", "row_id", "score", "rank", "helpful", "text_hash"]
    assert table.drop(columns="text_hash").equals(chosen)
    line = small["topic_mixed"].train[3]
    own = hashlib.sha256(f"{line['sentence1']}\x1f{line['sentence2']}".encode()).hexdigest()[:16]
    assert table["text_hash"][0] == own
    tokens = small["word_class"].train[0]["tokens"]
    assert table["text_hash"][1] == hashlib.sha256("\x1f".join(tokens).encode()).hexdigest()[:16]
    as_csv = pd.read_csv(paths[1])
    assert as_csv["text_hash"].tolist() == table["text_hash"].tolist()
    assert as_csv["score"].tolist() == [2.5, 1, 0.5, -0.25, -3]  # negative numbers stay numbers
    assert line["sentence1"] not in paths[1].read_text()

    saved = datasets.load_from_disk(str(paths[2]))
    assert saved.column_names == ["task", "row_id", "text1", "text2", "tokens", "label", "score", "rank"]
    task = small["topic_mixed"]
    assert saved[0] == {
        "task": "topic_mixed", "row_id": line["row_id"], "text1": line["sentence1"], "text2": line["sentence2"],
        "tokens": None, "label": task.labels[line["label"]], "score": 2.5, "rank": 1,
    }  # fmt: skip
    tags = [small["word_class"].labels[t] for t in small["word_class"].train[0]["tags"]]
    assert (saved[1]["tokens"], saved[1]["text1"], saved[1]["label"]) == (tokens, None, " ".join(tags))
    assert float(saved[2]["label"]) == small["side_share"].train[79]["label"]
    assert saved[4]["text2"] is None  # a single-sentence task


def test_rank_files_are_those_of_fastmtl(small, chosen, tmp_path):
    selections.selection(chosen, small, "topic_side", tmp_path / "out")
    folder = tmp_path / "out" / "rank_json"
    assert {p.stem for p in folder.iterdir()} == set(small.names) - {"topic_side"}
    content = json.loads((folder / "topic_mixed.json").read_text())
    assert content == {"for_topic_side_rank": [4, -1, -1, 1] + [-1] * 76}
    assert json.loads((folder / "look_alike.json").read_text()) == {"for_topic_side_rank": [-1] * 80}
    for where in (folder, tmp_path / "out"):
        assert selections.load_rank_json(where, "topic_side").equals(chosen[["task", "row", "rank"]])


def test_a_selection_without_ranks_ranks_as_it_stands(small, chosen, tmp_path):
    selections.selection(chosen.drop(columns=["rank", "score"]), small, "topic_side", tmp_path / "out")
    assert selections.load_rank_json(tmp_path / "out", "topic_side")["row"].tolist() == [3, 0, 79, 0, 11]
    saved = datasets.load_from_disk(str(tmp_path / "out" / "dataset"))
    assert saved["rank"][:] == saved["score"][:] == [None] * 5


def test_ranks_that_are_shared_stay_shared(small, chosen, tmp_path):
    selections.selection(chosen.assign(rank=[1, 2.5, 2.5, 4, 5]), small, "topic_side", tmp_path / "out")
    text = (tmp_path / "out" / "rank_json" / "word_class.json").read_text()
    assert text.startswith('{"for_topic_side_rank": [2.5, -1,')
    whole = json.loads((tmp_path / "out" / "rank_json" / "topic_mixed.json").read_text())["for_topic_side_rank"]
    assert whole[:4] == [4, -1, -1, 1]
    assert not any(isinstance(rank, float) for rank in whole)
    assert datasets.load_from_disk(str(tmp_path / "out" / "dataset"))["rank"][:] == [1.0, 2.5, 2.5, 4.0, 5.0]


def test_rank_files_of_others(tmp_path):
    (tmp_path / "a.json").write_text('{"for_p_rank": [2.5, -1, 1], "for_p_random_rank": [1, 2, 3]}')
    (tmp_path / "b.json").write_text('{"for_p_rank": [-1, 2.5]}')
    (tmp_path / "p.json").write_text('{"for_q_rank": [1]}')  # the primary's own file, about other targets
    table = selections.load_rank_json(tmp_path, "p")
    assert table.values.tolist() == [["a", 2, 1.0], ["a", 0, 2.5], ["b", 1, 2.5]]
    with pytest.raises(InputError, match=r"a\.json: no list 'for_q_rank'; it has for_p_rank, for_p_random_rank"):
        selections.load_rank_json(tmp_path, "q")
    (tmp_path / "b.json").write_text('{"for_p_rank": [-1, "2"]}')
    with pytest.raises(InputError, match="entry 1: '2' is not a rank"):
        selections.load_rank_json(tmp_path, "p")
    with pytest.raises(InputError, match="no rank files"):
        selections.load_rank_json(tmp_path / "none", "p")


def test_a_real_arm_goes_out_and_comes_back(small, tmp_path):
    pool = auxiliary_rows.pool(small, small.auxiliaries("topic_side"))
    chosen = pool.iloc[np.random.default_rng(0).permutation(len(pool))[:200]].reset_index(drop=True)
    selections.selection(chosen, small, "topic_side", tmp_path / "out")
    back = selections.load_rank_json(tmp_path / "out", "topic_side")
    assert back[["task", "row"]].equals(chosen[["task", "row"]].astype({"row": np.int64}))
    assert len(datasets.load_from_disk(str(tmp_path / "out" / "dataset"))) == 200


@pytest.fixture
def nasty(tmp_path):
    """A suite whose texts a spreadsheet would run."""
    texts = ["=1+1", "+2", "-3", "@SUM(A1)", "\tx", "\rx", "plain = text", 'quote " and, comma', "naïve 中"]
    for name in ("train.jsonl", "dev.jsonl"):
        (tmp_path / name).write_text(
            "".join(json.dumps({"row": i, "t": t, "y": i % 2}) + "\n" for i, t in enumerate(texts * 3))
        )
    (tmp_path / "suite.yaml").write_text("""name: nasty
tasks:
  main: {kind: classification, inputs: [t], label: y, labels: [a, b], metric: f1,
    source: {files: {train: train.jsonl, dev: dev.jsonl}}}
  -aux: {kind: classification, inputs: [t], label: y, labels: ["=a", b], metric: f1,
    source: {files: {train: train.jsonl, dev: dev.jsonl}}}
""")
    return suites.Suite.from_yaml(tmp_path / "suite.yaml"), texts


def test_csv_cells_are_no_formulas(nasty, tmp_path):
    suite, texts = nasty
    chosen = pd.DataFrame({"task": "-aux", "row": range(9), "row_id": range(9), "why": "@x", "score": -1.5})
    selections.selection(chosen, suite, "main", tmp_path / "out", with_text=True)
    with (tmp_path / "out" / "selection.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["text1"] for r in rows] == ["'" + t for t in texts[:6]] + texts[6:]
    assert {(r["task"], r["why"], r["score"], r["text2"]) for r in rows} == {("'-aux", "'@x", "-1.5", "")}
    table = pd.read_parquet(tmp_path / "out" / "selection.parquet")
    assert table["text1"].tolist() == texts  # Parquet is no spreadsheet
    assert set(table["task"]) == {"-aux"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": [3, 0, 80, 0, 11]}, "selection row 2: 'side_share' has no training row 80 (rows 0..79)"),
        ({"row": [3, 0, -1, 0, 11]}, "selection row 2: 'side_share' has no training row -1 (rows 0..79)"),
        ({"row": [3, 0, 79, 3, 11]}, "selection row 3: 'topic_mixed' row 3 again"),
        ({"row_id": [0, 0, 0, 0, 0]}, "it was chosen from another suite"),
        ({"task": ["topic_side"] * 5}, "'topic_side' is the primary"),
        ({"task": ["nothing"] * 5}, "task 'nothing' is not in suite"),
        ({"rank": [1, 2, 3, 0, 5]}, "selection row 3: rank 0 is not a positive number"),
        ({"rank": [1, 2, None, 3, 5]}, "selection row 2: rank nan is not a positive number"),
    ],
)
def test_a_selection_that_does_not_fit_is_not_written(small, chosen, tmp_path, change, message):
    with pytest.raises(InputError) as error:
        selections.selection(chosen.assign(**change), small, "topic_side", tmp_path / "out")
    assert message in str(error.value)
    assert not any(p.name != "runs" for p in tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(small, chosen, tmp_path):
    (tmp_path / "out").mkdir()
    selections.selection(chosen, small, "topic_side", tmp_path / "out")  # empty is fine
    before = (tmp_path / "out" / "selection.csv").read_bytes()
    for write in (
        lambda: selections.selection(chosen[:1], small, "topic_side", tmp_path / "out"),
        lambda: models.model_folder(multitask.build("tiny", small), small["topic_side"], tmp_path / "out"),
    ):
        with pytest.raises(InputError, match=r"out: exists and is not an empty folder"):
            write()
    assert (tmp_path / "out" / "selection.csv").read_bytes() == before


def test_a_failure_in_the_middle_leaves_nothing(small, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.Dataset, "save_to_disk", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        selections.selection(chosen, small, "topic_side", tmp_path / "out")
    assert not any(p.name != "runs" for p in tmp_path.iterdir())


def test_redrawn_splits_say_which_file_a_row_is_of(small, chosen, tmp_path):
    task = small["away_topic"]
    origin = ["dev" if i == 11 else "train" for i in range(len(task.train))]
    redrawn = replace(task, train=task.train.add_column("origin", origin))
    suite = suites.Suite("redrawn", dict(small) | {"away_topic": redrawn}, "x")
    selections.selection(chosen, suite, "topic_side", tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "selection.parquet")
    assert table["origin"].fillna("as it was").tolist() == ["as it was"] * 4 + ["dev"]
    assert datasets.load_from_disk(str(tmp_path / "out" / "dataset"))["origin"][:] == [None] * 4 + ["dev"]


# --- predictions -------------------------------------------------------------------------------------------------


def test_predictions_of_each_kind(small, tmp_path):
    topic = small["topic_side"]
    path = selections.predictions(np.array([1, 0]), topic, tmp_path / "new" / "a.csv", row_ids=[7, 3])
    assert path.read_text() == f"row_id,prediction\n7,{topic.labels[1]}\n3,{topic.labels[0]}\n"
    values = np.array([0.1, 5.5, -2, 2.5], np.float32)
    assert (
        selections.predictions(values, small["side_share"], path).read_text()
        == "row_id,prediction\n0,0.1\n1,5\n2,0\n3,2.5\n"
    )
    text = selections.predictions([[0, 2], np.array([3])], small["word_class"], path).read_text()
    assert text == "row_id,prediction\n0,function class_1\n1,class_2\n"
    assert not list(path.parent.glob(".*"))


def test_predictions_of_a_model(small, tmp_path):
    net = multitask.build("tiny", small).eval()
    for name in ("topic_side", "side_share", "word_class"):
        task = small[name]
        values, _ = prediction.predict(net, batching.encode(task.dev.select(range(20)), task, net.tokenizer), task)
        path = selections.predictions(values, task, tmp_path / "a.csv", row_ids=task.dev["row_id"][:20])
        table = pd.read_csv(path)
        assert table["row_id"].tolist() == task.dev["row_id"][:20]
        if task.kind == "regression":
            assert np.array_equal(table["prediction"].to_numpy(np.float32), values)
        else:
            ids = [[task.labels.index(t) for t in str(row).split()] for row in table["prediction"]]
            assert ids == ([[x] for x in values] if name == "topic_side" else values)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("topic_side", [0, 2], "prediction 1: unknown label 2"),
        ("topic_side", [0, "no"], "prediction 1: unknown label 'no'"),
        ("topic_side", [0, -1], "prediction 1: unknown label -1"),
        ("side_share", [1.0, float("nan")], "prediction 1: nan is not a finite number"),
        ("side_share", [1.0, "much"], "prediction 1: 'much' is not a finite number"),
        ("word_class", [[0], []], "prediction 1: [] is not a list of one or more tags"),
        ("word_class", [[0], [9]], "prediction 1: unknown label 9"),
    ],
)
def test_wrong_predictions_are_named(small, tmp_path, name, values, message):
    with pytest.raises(InputError) as error:
        selections.predictions(values, small[name], tmp_path / "a.csv")
    assert message in str(error.value)
    assert not (tmp_path / "a.csv").exists()


def test_row_ids_must_fit(small, tmp_path):
    with pytest.raises(InputError, match="2 predictions, but 3 row ids"):
        selections.predictions([0, 1], small["topic_side"], tmp_path / "a.csv", row_ids=[1, 2, 3])


# --- models ------------------------------------------------------------------------------------------------------


def shaken(net):
    """The model with weights and biases as training might leave them: no zeros that could hide a slip."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in net.parameters():
            value += torch.randn(value.shape, generator=generator) * 0.2
    return net


@pytest.fixture(scope="module")
def bodies(small, tmp_path_factory):
    """Folders of tiny random encoders of five kinds, each with the tiny tokenizer."""
    import transformers as t

    tokenizer = multitask.build("tiny", small).tokenizer
    size = {"vocab_size": len(tokenizer)}
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    encoders = {
        "bert": t.BertModel(t.BertConfig(**size, **bert)),
        "roberta": t.RobertaModel(t.RobertaConfig(**size, **bert, type_vocab_size=2, pad_token_id=0)),
        "electra": t.ElectraModel(t.ElectraConfig(**size, **bert, embedding_size=8)),
        "distilbert": t.DistilBertModel(t.DistilBertConfig(**size, dim=16, n_layers=1, n_heads=2, hidden_dim=8)),
    }
    folder = tmp_path_factory.mktemp("bodies")
    for name, body in encoders.items():
        body.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def ours(net, task, rows):
    """Our logits, regression outputs on the task's own scale but not clipped."""
    with torch.no_grad():
        batch = multitask.collate(rows, task, net.eval())
        logits = net(batch).logits
    if task.kind == "regression" and net.regression == "unit":
        low, high = task.range
        logits = logits * (high - low) + low
    return logits, batch["attention_mask"].bool()


def texts(task, rows):
    return [[row[c] for row in rows] for c in task.inputs]


def apart(a, b, mask=None):
    assert a.shape == b.shape
    return (a[mask] - b[mask] if mask is not None else a - b).abs().max().item()


def loaded(folder, auto, task, rows):
    """The logits of the standard class, with its own tokenizer and nothing of ours."""
    net, info = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = {"is_split_into_words": True} if task.kind == "tagging" else {}
    inputs = tokenizer(*texts(task, rows), truncation=True, padding=True, return_tensors="pt", **words)
    with torch.no_grad():
        return net, net.eval()(**inputs).logits


def by_readme(folder, monkeypatch):
    """The names that the README's own lines define, run where it says."""
    monkeypatch.chdir(folder)
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL).group(1)
    space = {}
    exec(compile(code, "README.md", "exec"), space)
    return space


@pytest.mark.parametrize("encoder", ["tiny", "bert", "roberta", "electra", "distilbert"])
def test_taggers_load_as_standard_token_classes(small, bodies, tmp_path, encoder, monkeypatch):
    task = small["word_class"]
    net = shaken(multitask.build(encoder if encoder == "tiny" else str(bodies / encoder), small))
    folder = tmp_path / "out"
    assert models.model_folder(net, task, folder) == "AutoModelForTokenClassification"
    assert net.training  # left as found
    rows = [task.train[i] for i in range(12)]
    want, mask = ours(net, task, rows)
    standard, logits = loaded(folder, AutoModelForTokenClassification, task, rows)
    assert apart(logits, want, mask) < 1e-5
    assert want[mask].std() > 0.1
    assert standard.config.id2label == dict(enumerate(task.labels))
    assert standard.config.label2id == {n: i for i, n in enumerate(task.labels)}
    assert apart(by_readme(folder, monkeypatch)["outputs"](*texts(task, rows)), want, mask) < 1e-5


@pytest.mark.parametrize("encoder", ["bert", "roberta"])
@pytest.mark.parametrize("regression", ["unit", "raw"])
@pytest.mark.parametrize("name", ["topic_side", "topic_name", "away_topic", "side_share"])
def test_a_head_on_the_pooler_loads_as_a_standard_sequence_class(
    small, bodies, tmp_path, encoder, regression, name, monkeypatch
):
    task = small[name]
    net = shaken(multitask.build(str(bodies / encoder), small, pool="pooler", regression=regression))
    folder = tmp_path / "out"
    assert models.model_folder(net, task, folder) == "AutoModelForSequenceClassification"
    rows = [task.train[i] for i in range(12)]
    want, _ = ours(net, task, rows)
    standard, logits = loaded(folder, AutoModelForSequenceClassification, task, rows)
    assert apart(logits, want) < 1e-5
    assert want.std() > 0.01
    kind = "regression" if name == "side_share" else "single_label_classification"
    assert (standard.config.problem_type, standard.config.num_labels) == (kind, task.n_outputs)
    assert standard.config.id2label == dict(enumerate(task.labels or ["label"]))
    assert apart(by_readme(folder, monkeypatch)["outputs"](*texts(task, rows)), want) < 1e-5


@pytest.mark.parametrize(
    ("encoder", "pool"),
    [("tiny", "mean"), ("tiny", "cls"), ("bert", "cls"), ("distilbert", "cls"), ("electra", "mean")],
)
@pytest.mark.parametrize("name", ["topic_side", "away_topic", "side_share"])
def test_other_heads_come_with_the_lines_that_apply_them(small, bodies, tmp_path, encoder, pool, name, monkeypatch):
    task = small[name]
    net = shaken(multitask.build(encoder if encoder == "tiny" else str(bodies / encoder), small, pool=pool))
    folder = tmp_path / "out"
    assert models.model_folder(net, task, folder) == "AutoModel"
    rows = [task.train[i] for i in range(12)]
    want, _ = ours(net, task, rows)
    assert apart(by_readme(folder, monkeypatch)["outputs"](*texts(task, rows)), want) < 1e-5
    assert want.std() > 0.01
    assert {k: tuple(v.shape) for k, v in load_file(folder / "head.safetensors").items()} == {
        "weight": (task.n_outputs, net.encoder.config.hidden_size), "bias": (task.n_outputs,),
    }  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert list(config["id2label"].values()) == list(task.labels or ["label"])
    plain = AutoModel.from_pretrained(folder)
    some = net.encoder.state_dict()
    assert all(torch.equal(plain.state_dict()[k], v) for k, v in some.items())


def test_regression_heads_are_rescaled_by_hand(small, tmp_path):
    """Range 0 to 5: w becomes 5 w, b becomes 5 b + 0; a range of 1 to 5 gives 4 w and 4 b + 1."""
    net = multitask.build("tiny", small)
    with torch.no_grad():
        net.heads["side_share"].weight.fill_(0.25)
        net.heads["side_share"].bias.fill_(0.5)
    for limits, weight, bias in (((0.0, 5.0), 1.25, 2.5), ((1.0, 5.0), 1.0, 3.0)):
        folder = tmp_path / str(limits[0])
        models.model_folder(net, replace(small["side_share"], range=limits), folder)
        head = load_file(folder / "head.safetensors")
        assert head["weight"].unique().tolist() == [weight]
        assert head["bias"].tolist() == [bias]
    net.regression = "raw"
    models.model_folder(net, small["side_share"], tmp_path / "raw")
    assert load_file(tmp_path / "raw" / "head.safetensors")["bias"].tolist() == [0.5]


def test_a_class_that_computes_something_else_is_not_used(small, bodies, tmp_path, monkeypatch):
    """The measured check decides, whatever the parameters' names say."""
    from transformers import BertForSequenceClassification

    task = small["topic_side"]
    net = shaken(multitask.build(str(bodies / "bert"), small, pool="pooler"))
    real = BertForSequenceClassification.forward

    def other(self, *args, **kwargs):
        output = real(self, *args, **kwargs)
        output.logits = output.logits + 0.01
        return output

    monkeypatch.setattr(BertForSequenceClassification, "forward", other)
    assert models.model_folder(net, task, tmp_path / "out") == "AutoModel"
    rows = [task.train[i] for i in range(6)]
    want, _ = ours(net, task, rows)
    assert apart(by_readme(tmp_path / "out", monkeypatch)["outputs"](*texts(task, rows)), want) < 1e-5


def test_the_folder_carries_the_length_limit_and_nothing_local(small, bodies, tmp_path):
    net = multitask.build(str(bodies / "distilbert"), small, max_length=24)
    multitask.collate([small["topic_side"].train[0]], small["topic_side"], net)
    torch.manual_seed(3)
    before = torch.rand(1).item()
    torch.manual_seed(3)
    models.model_folder(net, small["topic_side"], tmp_path / "out")
    assert torch.rand(1).item() == before
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.model_max_length == 24
    inputs = tokenizer("a " * 100, truncation=True)
    assert set(inputs) == {"input_ids", "attention_mask"}  # DistilBERT has no segments
    assert len(inputs["input_ids"]) == 24
    assert len(tokenizer("a " * 100)["input_ids"]) == 102  # asked for no cut, got none
    for file in (tmp_path / "out").glob("*.json"):
        assert str(bodies.parent) not in file.read_text()
        assert '"auxlearn"' not in file.read_text()  # our attention function
    assert net.encoder.config._attn_implementation == "auxlearn"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "README.md", "config.json", "head.safetensors", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert not list(tmp_path.glob(".out*"))


def test_an_exported_encoder_is_an_encoder_folder(small, tmp_path):
    net = shaken(multitask.build("tiny", small)).eval()
    models.model_folder(net, small["topic_side"], tmp_path / "out")
    again = multitask.build(str(tmp_path / "out"), small, pool="mean").eval()
    batch = multitask.collate([small["topic_side"].train[i] for i in range(6)], small["topic_side"], net)
    with torch.no_grad():
        assert apart(again(batch).features, net(batch).features) < 1e-5


def test_a_model_without_the_task_is_refused(small, tmp_path):
    with pytest.raises(InputError, match="task 'other': the model has no head for it; it has topic_side"):
        models.model_folder(
            multitask.build("tiny", small), replace(small["topic_side"], name="other"), tmp_path / "out"
        )

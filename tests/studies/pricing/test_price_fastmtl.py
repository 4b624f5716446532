import numpy as np
import pytest
from auxlearn.studies.pricing import price_fastmtl
from auxlearn.studies.pricing.price_fastmtl import BERT_BASE, GLUE_LENGTH, GLUE_ROWS, Encoder

from auxlearn import cost
from auxlearn.data import schema
from auxlearn.errors import InputError
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.paths import PROJECT

# One layer, width 4, feed-forward 8: a sequence of L tokens costs 8*16 L + 4*4 L² + 4*4*8 L = 256 L + 16 L² forward.
SMALL = Encoder(4, 1, 8)
ROWS = {"a": 1000, "b": 200, "c": 40}


def forward(length: float) -> float:
    return 256 * length + 16 * length**2


def test_glue_suite_is_the_authors_eight_tasks_in_order():
    """Read from the YAML alone; no row is loaded."""
    spec, _ = schema.read_suite(PROJECT / "params/suites/glue.yaml")
    assert list(spec.tasks) == ["mnli", "rte", "qqp", "qnli", "mrpc", "sst2", "cola", "stsb"] == list(GLUE_ROWS)
    assert all(t.source.hub == "nyu-mll/glue" and t.source.config == name for name, t in spec.tasks.items())
    assert {t.source.revision for t in spec.tasks.values()} == {"bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"}
    outputs = [len(t.labels or "1") for t in spec.tasks.values()]
    assert outputs == [3, 2, 2, 2, 2, 2, 2, 1]
    declared = {name: [t.metric, *t.metrics] for name, t in spec.tasks.items()}
    assert declared["mrpc"] == declared["qqp"] == ["accuracy", "f1"]
    assert declared["stsb"] == ["pearson", "spearman"]
    assert declared["cola"] == ["matthews"]


def test_every_stage_by_hand():
    """Proxies of 30 rows x 2 epochs, 20 auxiliary rows, 3 + 5 epochs, batches of 32, rows of 10 tokens."""
    table = price_fastmtl.fastmtl(ROWS, "c", 20, SMALL, 10, proxy_rows=30, proxy_epochs=2)
    one = 256 * 10 + 16 * 100
    assert list(table.index) == ["proxy", "scoring", "stage2", "tune"]
    assert table["sequences"].to_dict() == {"proxy": 180, "scoring": 1150, "stage2": 180, "tune": 200}
    # Pool 970 + 170, so 20 rows are 17 of a and 3 of b: one batch each, and two of the primary's 40 rows.
    assert table["steps"].to_dict() == {"proxy": 6, "scoring": 0, "stage2": 12, "tune": 10}
    assert table["flops"].to_dict() == {
        "proxy": 180 * 3 * one, "scoring": 1150 * one, "stage2": 180 * 3 * one, "tune": 200 * 3 * one
    }  # fmt: skip


def test_lengths_and_mix_decide_what_the_selected_rows_cost():
    length = {"a": 10, "b": 20.5, "c": 30}
    mixed = price_fastmtl.fastmtl(ROWS, "c", 10, SMALL, length, proxy_rows=30, mix={"a": 0.7, "b": 0.3})
    assert mixed.loc["stage2", "flops"] == pytest.approx(9 * (7 * forward(10) + 3 * forward(20.5) + 40 * forward(30)))
    proxies = 15 * 30 * (forward(10) + forward(20.5) + forward(30))
    assert mixed.loc["proxy", "flops"] == pytest.approx(proxies)
    scored = 970 * forward(10) + 170 * forward(20.5) + 10 * forward(30)
    assert mixed.loc["scoring", "flops"] == pytest.approx(scored)
    only_b = price_fastmtl.fastmtl(ROWS, "c", 10, SMALL, length, proxy_rows=30, mix={"b": 1.0})
    assert only_b.loc["stage2", "flops"] > mixed.loc["stage2", "flops"]
    assert only_b.loc["stage2", "sequences"] == mixed.loc["stage2", "sequences"] == 150


@pytest.mark.parametrize("n", [1, 7, 20, 999, 1140])
def test_a_selection_is_exactly_n_rows(n):
    table = price_fastmtl.fastmtl(ROWS, "c", n, SMALL, 10, proxy_rows=30)
    assert table.loc["stage2", "sequences"] == 3 * (40 + n)


def test_nothing_selected_is_the_primary_alone():
    table = price_fastmtl.fastmtl(ROWS, "c", 0, SMALL, 10, mix={"a": 1.0})
    assert table.loc["stage2", ["sequences", "steps"]].to_list() == [120, 6]
    assert table.loc["stage2", "flops"] / 3 == table.loc["tune", "flops"] / 5


def test_arms_are_made_of_the_same_stages():
    chosen = price_fastmtl.fastmtl(ROWS, "c", 20, SMALL, 10, proxy_rows=30)
    drawn = price_fastmtl.random(ROWS, "c", 20, SMALL, 10)
    full = price_fastmtl.all_data(ROWS, "c", SMALL, 10)
    alone = price_fastmtl.single(ROWS, "c", SMALL, 10)
    assert chosen.loc["tune"].equals(drawn.loc["tune"])
    assert alone.loc["tune"].equals(full.loc["tune"])
    assert chosen.loc["stage2", "flops"] == drawn.loc["stage2", "flops"]
    assert full.loc["stage2", "sequences"] == 3 * 1240  # every row: nothing is excluded
    assert list(alone.index) == ["tune"]
    every = price_fastmtl.random(ROWS, "c", 1200, SMALL, 10)
    assert every.equals(full)


def test_cost_is_additive_in_rows_and_epochs():
    flops = lambda n, epochs: price_fastmtl.random(ROWS, "c", n, SMALL, 10, stage2_epochs=epochs).loc["stage2", "flops"]  # noqa: E731
    assert flops(300, 3) + flops(500, 3) == pytest.approx(flops(800, 3) + flops(0, 3))
    assert flops(300, 2) + flops(300, 4) == pytest.approx(flops(300, 6))


def test_crossfit_doubles_the_proxy_and_scores_every_row_once():
    plain = price_fastmtl.fastmtl(GLUE_ROWS, "rte", 500, BERT_BASE, GLUE_LENGTH, watch=100)
    crossed = price_fastmtl.fastmtl(GLUE_ROWS, "rte", 500, BERT_BASE, GLUE_LENGTH, watch=100, crossfit=True)
    assert (crossed.loc["proxy"] == 2 * plain.loc["proxy"]).all()
    assert plain.loc["scoring", "sequences"] == 945_101
    assert crossed.loc["scoring", "sequences"] == 949_101
    later = ["stage2", "tune"]  # other rows are eligible, so that steps may differ by the odd half-full batch
    assert crossed.loc[later, ["sequences", "flops"]].equals(plain.loc[later, ["sequences", "flops"]])
    odd = price_fastmtl.fastmtl({"a": 9, "b": 5}, "b", 9, SMALL, 10, proxy_epochs=1, crossfit=True)
    assert odd.loc["proxy", "sequences"] == odd.loc["scoring", "sequences"] == 14


def test_watched_rows_cost_a_forward_pass_an_epoch():
    """100 rows of a, 50 of b (a quarter), 10 of c (a quarter); c then has 30 left to train on."""
    plain = price_fastmtl.fastmtl(ROWS, "c", 20, SMALL, 10, proxy_rows=30, proxy_epochs=2)
    watched = price_fastmtl.fastmtl(ROWS, "c", 20, SMALL, 10, proxy_rows=30, proxy_epochs=2, watch=100)
    extra = watched.loc["proxy"] - plain.loc["proxy"]
    assert extra.to_dict() == {"sequences": 2 * 160, "steps": 0, "flops": 2 * 160 * forward(10)}
    assert watched.drop("proxy").equals(plain.drop("proxy"))


def test_proxy_sample_is_that_of_the_plan(small):
    """Sizes as the library draws them, tasks of 80 rows: 20 watched and 60 trained on, or 10 and 50; with two folds of
    40 each, 5 watched by both proxies and 20 trained on."""

    rows = {name: len(task.train) for name, task in small.items()}
    everything = {name: np.ones(count, bool) for name, count in rows.items()}
    for wanted, watch, folds in ((500, 40, 1), (50, 10, 1), (20, 5, 2)):
        trained, held, fold_of = proxy_plans.proxy_sample(small, wanted, watch, 0, usable=everything, folds=folds)
        assert len(trained) == folds
        assert all((np.bincount(fold_of[name]) == rows[name] // folds).all() for name in rows)
        table = price_fastmtl.fastmtl(
            rows, small.names[0], 5, SMALL, 10, proxy_rows=wanted, proxy_epochs=1, watch=watch, crossfit=folds == 2
        )
        drawn = sum(len(each) for sample in trained for each in sample.values())
        assert table.loc["proxy", "sequences"] == drawn + folds * sum(map(len, held.values()))
        assert table.loc["scoring", "sequences"] == sum(rows.values()) - (drawn if folds == 1 else 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"primary": "wnli"}, "primary: task 'wnli' has no rows; there are a, b, c"),
        ({"n": -1}, "n: -1 is negative"),
        ({"n": 1141}, "n: 1141 rows asked for, but the pool has 1140"),
        ({"mix": {"a": 0.7, "b": 0.2}}, "sum to 1, not 0.9"),
        ({"mix": {"a": 1.5, "b": -0.5}}, "shares must be positive"),
        ({"mix": {"a": 0.5, "c": 0.5}}, "mix: c is not an auxiliary task; there are a, b"),
        ({"n": 400, "mix": {"b": 1.0}}, "mix: 400 rows of 'b' asked for, but the pool has 170"),
        ({"mix": {}}, "sum to 1, not 0"),
        ({"length": {"a": 10, "b": 10}}, "no length for task 'c'"),
        ({"length": 0}, "0 tokens"),
        ({"rows": ROWS | {"b": 0}}, "task 'b' has 0"),
        ({"tune_epochs": 0}, "at least 1"),
        ({"proxy_rows": 0}, "proxy_rows"),
    ],
)
def test_what_cannot_be_priced_is_one_clear_error(change, message):
    given = {"rows": ROWS, "primary": "c", "n": 20, "config": SMALL, "length": 10, "proxy_rows": 30} | change
    with pytest.raises(InputError, match=message):
        price_fastmtl.fastmtl(**given)
    if set(change) == {"primary"}:
        with pytest.raises(InputError, match=message):
            price_fastmtl.all_data(ROWS, "wnli", SMALL, 10)


def test_encoders_are_those_of_the_library():
    """22,347,251,712 FLOP a sequence of 128 for BERT-base: 12 (128 (8 768² + 4 768 3072) + 4 768 128²)."""
    assert cost.encoder_flops(BERT_BASE, [128], False) == 22_347_251_712
    assert cost.encoder_flops(price_fastmtl.MINILM_L6, [128], False) == 6 * (128 * 24 * 384**2 + 4 * 384 * 128**2)
    assert sum(GLUE_ROWS.values()) == 949_101


def test_published_setting_agrees_with_the_arithmetic_of_the_method_notes():
    """The compute table of the project's notes on FastMTL, section 8, in PFLOP and to its digits."""
    table = price_fastmtl.published([500, 10_000])
    assert list(table.index.names) == ["primary", "n"]
    assert table["proxy"].to_numpy() == pytest.approx(1.34, abs=0.005)
    assert table["scoring"].to_numpy() == pytest.approx(21.1, abs=0.05)
    assert (table["all_data"] - table["tune"]).to_numpy() == pytest.approx(191, abs=0.5)
    assert table.loc[("stsb", 500), "stage2"] == pytest.approx(1.26, abs=0.005)
    assert table.loc[("stsb", 10_000), "stage2"] == pytest.approx(3.17, abs=0.005)
    for primary, tune in (("rte", 0.83), ("mrpc", 1.23), ("stsb", 1.93)):
        assert table.loc[(primary, 500), "tune"] == pytest.approx(tune, abs=0.006)
    large = price_fastmtl.published([471_000, 622_000])
    assert large.loc[("rte", 471_000), "stage2"] == pytest.approx(95, abs=0.5)
    assert large.loc[("mrpc", 622_000), "stage2"] == pytest.approx(126, abs=0.5)
    assert table.loc[("stsb", 500), "speedup"] == pytest.approx(7.5, abs=0.05)


def test_published_totals_and_ratios_follow_from_the_stages():
    table = price_fastmtl.published()
    assert table.shape == (3 * len(price_fastmtl.GRID), 10)
    own = table["stage2"] + table["tune"]
    assert (table["alone"] - own).to_numpy() == pytest.approx((table["proxy"] + table["scoring"]).to_numpy())
    assert (3 * (table["amortised"] - own)).to_numpy() == pytest.approx((table["alone"] - own).to_numpy())
    assert (table["speedup"] < table["speedup_amortised"]).all()
    assert (table["speedup_amortised"] < table["speedup_free"]).all()
    assert (table.loc["stsb", "speedup"].diff().dropna() < 0).all()
    assert table["speedup"].idxmax() == ("rte", 500)  # the smallest primary: 191.7 / 23.9
    assert table["speedup"].max() == pytest.approx(8.02, abs=0.005)
    proxy = price_fastmtl.fastmtl(GLUE_ROWS, "stsb", 500, BERT_BASE, GLUE_LENGTH).loc["proxy"]
    assert (proxy["sequences"], proxy["steps"]) == (20_000, 5 * 128)


def test_slides_imply_one_training_rate_and_a_faster_pass_over_the_pool():
    table = price_fastmtl.against_slides()
    assert list(table.loc["fastmtl"].index) == ["proxy", "scoring", "stage2", "tune"]
    rate = table["tflop_per_second"]
    assert rate["all_data", "stage2"] == pytest.approx(12.1, abs=0.05)
    assert rate["random", "stage2"] == pytest.approx(12.2, abs=0.05)
    assert rate["fastmtl", "scoring"] == pytest.approx(27.3, abs=0.05)
    training = rate.drop(("fastmtl", "scoring"))
    assert training.between(10, 15).all()
    assert table["source"].value_counts().to_dict() == {"slide": 6, "difference": 1, "assumed": 1}
    # The slides' "0.05 %" would mean training at half the rate of every other arm.
    assert price_fastmtl.against_slides(fastmtl_n=500).loc[("fastmtl", "stage2"), "tflop_per_second"] < 6.5


def test_printed_total_fits_shared_selection_and_not_the_sum():
    table = price_fastmtl.slide_totals()
    assert table.loc["fastmtl", ["printed", "summed", "amortised"]].to_list() == [670, 1260, 680]
    assert (table.loc[["all_data", "random"], "printed"] == table.loc[["all_data", "random"], "summed"]).all()
    assert table.loc["fastmtl", "speedup_summed"] == pytest.approx(12.7, abs=0.05)
    assert table.loc["fastmtl", "speedup_amortised"] == pytest.approx(23.5, abs=0.05)
    assert table.loc["random", "speedup_printed"] == pytest.approx(35.5, abs=0.05)

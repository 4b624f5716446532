"""FastMTL in its authors' setting: what the forecast says, and what the slides say."""

import pytest

from auxlearn import cost
from auxlearn.data import suite_files
from auxlearn.paths import PROJECT
from auxlearn.studies import published_costs

SEQUENCE = 22_347_251_712  # of 128 tokens in BERT-base: 12 (128 (8 768² + 4 768 3072) + 4 768 128²)


def test_glue_suite_is_the_authors_eight_tasks_in_order():
    """Read from the YAML alone; no row is loaded."""
    spec, _ = suite_files.read_suite(PROJECT / "params/suites/glue.yaml")
    assert list(spec.tasks) == ["mnli", "rte", "qqp", "qnli", "mrpc", "sst2", "cola", "stsb"]
    assert list(spec.tasks) == list(published_costs.GLUE_ROWS)
    assert all(t.source.hub == "nyu-mll/glue" and t.source.config == name for name, t in spec.tasks.items())
    assert {t.source.revision for t in spec.tasks.values()} == {"bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"}
    outputs = [len(t.labels or "1") for t in spec.tasks.values()]
    assert outputs == [3, 2, 2, 2, 2, 2, 2, 1]
    declared = {name: [t.metric, *t.metrics] for name, t in spec.tasks.items()}
    assert declared["mrpc"] == declared["qqp"] == ["accuracy", "f1"]
    assert declared["stsb"] == ["pearson", "spearman"]
    assert declared["cola"] == ["matthews"]


def test_a_sequence_costs_what_the_paper_s_encoder_does():
    assert cost.encoder_flops(published_costs.BERT_BASE, [128], False) == SEQUENCE
    assert sum(published_costs.GLUE_ROWS.values()) == 949_101


def test_every_stage_by_hand():
    """Proxies of 500 rows of eight tasks x 5 epochs, watched by none; all rows scored but theirs; 3 + 5 epochs."""
    for primary in published_costs.PRIMARIES:
        own = published_costs.GLUE_ROWS[primary]
        stages = published_costs.stages("td_bce", primary, 20_000) * 1e15
        assert stages.to_dict() == pytest.approx({
            "proxy": 8 * 500 * 5 * 3 * SEQUENCE, "scoring": (949_101 - 4_000) * SEQUENCE,
            "stage2": 3 * 3 * (own + 20_000) * SEQUENCE, "tune": 5 * 3 * own * SEQUENCE,
        })  # fmt: skip
        full = published_costs.stages("all_data", primary, 1) * 1e15
        assert full.to_dict() == pytest.approx({"stage2": 3 * 3 * 949_101 * SEQUENCE, "tune": 5 * 3 * own * SEQUENCE})
        drawn = published_costs.stages("random", primary, 20_000) * 1e15
        assert drawn.to_dict() == pytest.approx(stages[["stage2", "tune"]].to_dict())


def test_published_setting_agrees_with_the_arithmetic_of_the_method_notes():
    """The compute table of the project's notes on FastMTL, section 8, in PFLOP and to its digits."""
    table = published_costs.published([500, 10_000])
    assert list(table.index.names) == ["primary", "n"]
    assert table["proxy"].to_numpy() == pytest.approx(1.34, abs=0.005)
    assert table["scoring"].to_numpy() == pytest.approx(21.1, abs=0.05)
    assert (table["all_data"] - table["tune"]).to_numpy() == pytest.approx(191, abs=0.5)
    assert table.loc[("stsb", 500), "stage2"] == pytest.approx(1.26, abs=0.005)
    assert table.loc[("stsb", 10_000), "stage2"] == pytest.approx(3.17, abs=0.005)
    for primary, tune in (("rte", 0.83), ("mrpc", 1.23), ("stsb", 1.93)):
        assert table.loc[(primary, 500), "tune"] == pytest.approx(tune, abs=0.006)
    large = published_costs.published([471_000, 622_000])
    assert large.loc[("rte", 471_000), "stage2"] == pytest.approx(95, abs=0.5)
    assert large.loc[("mrpc", 622_000), "stage2"] == pytest.approx(126, abs=0.5)
    assert table.loc[("stsb", 500), "speedup"] == pytest.approx(7.5, abs=0.05)


def test_published_totals_and_ratios_follow_from_the_stages():
    table = published_costs.published()
    assert table.shape == (3 * len(published_costs.GRID), 10)
    own = table["stage2"] + table["tune"]
    assert (table["alone"] - own).to_numpy() == pytest.approx((table["proxy"] + table["scoring"]).to_numpy())
    assert (3 * (table["amortised"] - own)).to_numpy() == pytest.approx((table["alone"] - own).to_numpy())
    assert (table["speedup"] < table["speedup_amortised"]).all()
    assert (table["speedup_amortised"] < table["speedup_free"]).all()
    assert (table.loc["stsb", "speedup"].diff().dropna() < 0).all()
    assert table["speedup"].idxmax() == ("rte", 500)  # the smallest primary: 191.7 / 23.9
    assert table["speedup"].max() == pytest.approx(8.02, abs=0.005)


def test_slides_imply_one_training_rate_and_a_faster_pass_over_the_pool():
    table = published_costs.against_slides()
    assert list(table.loc["fastmtl"].index) == ["proxy", "scoring", "stage2", "tune"]
    rate = table["tflop_per_second"]
    assert rate["all_data", "stage2"] == pytest.approx(12.1, abs=0.05)
    assert rate["random", "stage2"] == pytest.approx(12.2, abs=0.05)
    assert rate["fastmtl", "scoring"] == pytest.approx(27.3, abs=0.05)
    training = rate.drop(("fastmtl", "scoring"))
    assert training.between(10, 15).all()
    assert table["source"].value_counts().to_dict() == {"slide": 6, "difference": 1, "assumed": 1}
    # The slides' "0.05 %" would mean training at half the rate of every other arm.
    assert published_costs.against_slides(fastmtl_n=500).loc[("fastmtl", "stage2"), "tflop_per_second"] < 6.5


def test_printed_total_fits_shared_selection_and_not_the_sum():
    table = published_costs.slide_totals()
    assert table.loc["fastmtl", ["printed", "summed", "amortised"]].to_list() == [670, 1260, 680]
    assert (table.loc[["all_data", "random"], "printed"] == table.loc[["all_data", "random"], "summed"]).all()
    assert table.loc["fastmtl", "speedup_summed"] == pytest.approx(12.7, abs=0.05)
    assert table.loc["fastmtl", "speedup_amortised"] == pytest.approx(23.5, abs=0.05)
    assert table.loc["random", "speedup_printed"] == pytest.approx(35.5, abs=0.05)

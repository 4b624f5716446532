"""The prices of the authors' settings are the arithmetic of what they ran."""

from collections import Counter

import pytest
import yaml

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.studies import forecasts, graph, published_costs

pytestmark = pytest.mark.usefixtures("planted_once")
SEQUENCE = 22_347_251_712  # of 128 tokens in BERT-base, forward


@pytest.fixture(scope="module")
def prices():
    known = {}

    def price(name):
        if name not in known:
            known[name] = forecasts.price(PROJECT / "params" / "published" / f"{name}.yaml")
        return known[name]

    return price


# --- FastMTL ---------------------------------------------------------------------------------------------------------


def test_fastmtl_prices_to_the_notes(prices):
    """Section 8 of the notes, in PFLOP and to their digits.

    The proxy's own rows are scored too.
    """
    price = prices("fastmtl")
    table = price.table.loc[:, :"all_data"] / 1e15
    td = table.xs("td_bce", level="arm")
    assert td["proxy"].to_numpy() == pytest.approx(8 * 5 * 3 * 500 * SEQUENCE / 1e15)
    assert td["proxy"].to_numpy() == pytest.approx(1.34, abs=0.005)
    assert td["scoring"].to_numpy() == pytest.approx(949_101 * SEQUENCE / 1e15)
    assert td["scoring"].to_numpy() == pytest.approx(21.2, abs=0.05)
    full = table.xs("all_data", level="arm")
    assert full["stage2"].to_numpy() == pytest.approx(3 * 3 * 949_101 * SEQUENCE / 1e15)
    assert full["stage2"].to_numpy() == pytest.approx(191, abs=0.5)
    for primary, tune in (("rte", 0.83), ("mrpc", 1.23), ("stsb", 1.93)):
        assert td.loc[(primary, 500), "tune"] == pytest.approx(tune, abs=0.006)
    assert td.loc[("stsb", 500), "stage2"] == pytest.approx(1.26, abs=0.005)
    assert td.loc[("stsb", 10_000), "stage2"] == pytest.approx(3.17, abs=0.005)
    assert price.table.loc[("stsb", "td_bce", 500), "speedup"] == pytest.approx(7.5, abs=0.05)


def test_fastmtl_prices_to_its_published_costs(prices):
    """But for the proxy's own rows, which are scored."""
    price, known = prices("fastmtl"), published_costs.published()
    td = price.table.xs("td_bce", level="arm")
    for name in ("stage2", "tune", "all_data"):
        assert (td[name] / 1e15).to_dict() == pytest.approx(known[name].to_dict())
    for name in ("proxy", "scoring", "alone", "amortised"):
        assert (td[name] / 1e15).to_dict() == pytest.approx(known[name].to_dict(), rel=0.005)
    for name in ("speedup", "speedup_amortised"):
        assert td[name].to_dict() == pytest.approx(known[name].to_dict(), rel=0.005)
    assert td["ceiling"].to_dict() == pytest.approx(known["speedup_free"].to_dict())
    assert (td["speedup"] < td["ceiling"]).all()


def test_the_grid_counts_shared_work_once(prices):
    price = prices("fastmtl")
    one = price.table.loc[("rte", "td_bce", 500)]
    assert price.total["proxy"] == pytest.approx(6 * one["proxy"])
    assert price.total["scoring"] == pytest.approx(6 * one["scoring"])
    # random, td_bce, td_ce and cie_ce have three seeds; single and all_data are one training under the fixed seeds.
    often = {arm: 1 if arm in ("single", "all_data") else 3 for arm in price.table.index.levels[1]}
    times = price.table.index.get_level_values("arm").map(often).to_numpy()
    assert price.total["stage2"] == pytest.approx((price.table["stage2"] * times).sum())
    assert price.total["tune"] == pytest.approx((price.table["tune"] * times).sum())
    # One more proxy and a pass over 2,000 rows of each of eight tasks, for seed 0 and both losses together.
    assert price.total["map"] == pytest.approx((8 * 500 * 5 * 3 + 8 * 2000) * SEQUENCE)
    assert price.total.sum() < price.separately
    assert price.most == pytest.approx(price.total.sum())  # every row is as long
    assert price.table["at_most"].to_dict() == pytest.approx(price.table["alone"].to_dict())


# --- any study -------------------------------------------------------------------------------------------------------


def written(tmp_path, **changes):
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "rows": 60, "seeds": [0]}
    content = {"study": "s", "base": base, "grid": {"arm": ["single", "random", "td_bce"], "n": [20]}}
    content |= {"stages": ["06_mtl"], "notebooks": {"06_mtl": {"choose": "last"}}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_a_suite_that_can_be_read_is_measured(tmp_path, planted):
    """Padding within batches is counted: more than the rows themselves, less than if all were as long as one is."""
    from auxlearn import cost
    from auxlearn.data import batching
    from auxlearn.models import multitask

    price = forecasts.price(written(tmp_path))
    small = planted.capped(60)
    net, task = multitask.build("tiny", small), small["topic_side"]
    lengths = batching.encode(task.train, task, net.tokenizer).lengths
    bare, longest = (
        5 * cost.encoder_flops(net.encoder.config, own, True) for own in (lengths, [lengths.max()] * len(lengths))
    )
    assert bare < price.table.loc[("topic_side", "single", 0), "tune"] < longest
    assert price.table.loc[("topic_side", "single", 0), "at_most"] == longest
    assert "measured: " in price.source
    assert f"topic_side {lengths.mean():.0f}" in price.source
    assert price.table.loc[("topic_side", "td_bce", 20), "scoring"] > 0
    assert price.shown().startswith("FORECAST in TFLOP")


def test_dev_that_is_measured_judges_epochs(tmp_path, planted):
    last, judged = (
        forecasts.price(written(tmp_path, grid={"arm": ["single"]}, notebooks={"06_mtl": {"choose": choose}}))
        for choose in ("last", "dev")
    )
    assert judged.total.sum() > 1.2 * last.total.sum()  # 60 rows are trained on, forward and backward; dev is far more


def test_what_cannot_be_read_needs_expects(tmp_path, monkeypatch):
    monkeypatch.delenv("AUXLEARN_DATA", raising=False)
    base = {"suite": "params/suites/power.yaml", "primary": "rte", "encoder": "minilm", "size": "full"}
    path = written(tmp_path, base=base)
    assert Counter(s for s, _ in graph.validated(path))["06_mtl"] == 3  # checking needs no data
    with pytest.raises(InputError, match=r"study\.yaml: .*environment variable that is not set.*say under `expects`"):
        forecasts.price(path)


# --- GradTS ----------------------------------------------------------------------------------------------------------

GLUE8 = ["cola", "mrpc", "sst2", "wnli", "mnli", "qnli", "rte", "qqp"]
TRAIN = dict(zip(GLUE8, (8_551, 3_668, 67_349, 635, 392_702, 104_743, 2_490, 363_846), strict=True))
TOKENS = dict(zip(GLUE8, (12, 53, 13, 37, 39, 51, 70, 31), strict=True))
PADDED = 1.2  # at most, by rows of other tasks in batches of 16, whose lengths are jittered by a quarter


def bert(name):
    """Forward FLOPs of a row of a task through BERT-base: 12 layers of width 768 and feed-forward 3,072."""
    return 12 * (TOKENS[name] * (8 * 768**2 + 4 * 768 * 3072) + 4 * 768 * TOKENS[name] ** 2)


def test_gradts_prices_to_its_own_arithmetic(prices):
    """Rows of several lengths share its batches, so that stage 2 is padded; batches of one task are not."""
    price = prices("gradts")
    table = price.table.droplevel("n")
    exact = lambda value: pytest.approx(value, rel=1e-6)  # noqa: E731
    assert price.total["task_tuning"] == exact(sum(3 * 3 * k * bert(t) for t, k in TRAIN.items()))
    measured = sum(k * (2 * bert(t) + 12 * 4 * 768**2 * TOKENS[t]) for t, k in TRAIN.items())
    assert price.total["importance"] == exact(measured)
    whole = 7 * 3 * sum(k * bert(t) for t, k in TRAIN.items())
    assert table.loc[("cola", "single"), "tune"] == exact(7 * 3 * 8_551 * bert("cola"))
    full = table.loc[("cola", "all_data"), "stage2"]
    assert whole < full < PADDED * whole
    # MNLI's n is its whole pool, so that thres at most is all data, and so are all trials but for MNLI's own tenth.
    assert table.loc[("mnli", "gradts_thres"), "stage2"] == pytest.approx(full, rel=0.001)
    one, held = bert("mnli"), round(0.1 * 392_702)
    kept = 392_702 - held
    trained = 7 * 3 * (sum(k * bert(t) for t, k in TRAIN.items()) - held * one)
    tuned = 3 * kept * one + held * one
    trial = table.loc[("mnli", "gradts_trial"), "trial"] / 2  # two are expected of at most seven
    assert trained + tuned < trial < PADDED * trained + tuned
    cells = table.loc[("mnli", "gradts_trial")]
    assert cells["at_most"] > cells["alone"] + 5 * trial
    # fg ends with 0.7 of each task's rows, at most n of them; MNLI's 385,897 are fewer.
    best = 7 * 3 * (392_702 * one + sum(round(0.7 * k) * bert(t) for t, k in TRAIN.items() if t != "mnli"))
    assert best < table.loc[("mnli", "gradts_fg"), "stage2"] < PADDED * best
    for arm in ("gradts_thres", "gradts_trial", "gradts_fg", "autosem_p1", "autosem", "all_data"):
        assert len(table.xs(arm, level="arm")) == 8


def test_autosem_prices_to_its_own_arithmetic(prices):
    """Sixteen trainings by ratios, which are expected to be alike: of MNLI and the three largest of the others."""
    table = prices("gradts").table.droplevel("n")
    one, held = bert("mnli"), round(0.1 * 392_702)
    kept = 392_702 - held
    steps = 7 * -(-(kept + 551_282) // 16)
    by_ratios = steps * 16 * 3 * (one + bert("qqp") + bert("qnli") + bert("sst2")) / 4
    wanted = 16 * (by_ratios + 3 * kept * one + held * one)
    assert table.loc[("mnli", "autosem"), "trial"] == pytest.approx(wanted, rel=0.001)
    # 60 rounds of ten batches in turn, MNLI first; a tenth of it judges before the first round and after each.
    order = ["mnli", *sorted(set(GLUE8) - {"mnli"})]
    rounds = {name: 60 // 8 + (at < 60 % 8) for at, name in enumerate(order)}
    played = sum(count * 10 * 16 * 3 * bert(name) for name, count in rounds.items())
    assert table.loc[("mnli", "autosem_p1"), "bandit"] == pytest.approx(played + 61 * held * one, rel=0.001)
    assert table.loc[("mnli", "autosem"), "bandit"] == table.loc[("mnli", "autosem_p1"), "bandit"]


def test_every_arm_of_gradts_is_a_training_of_its_own_in_the_grid(prices):
    """thres, trial and p1 are forecast to add the same n rows, and do not add the same ones."""
    price = prices("gradts")
    for stage in ("stage2", "tune"):
        assert price.total[stage] == pytest.approx(price.table[stage].sum())
    bandits = price.table["bandit"].xs("autosem", level="arm")
    assert price.total["bandit"] == pytest.approx(bandits.sum())
    searches = price.table["trial"].loc[:, ["gradts_trial", "autosem"], :]
    assert price.total["trial"] == pytest.approx(searches.sum())  # fg's trials are trial's


# --- TAWT ------------------------------------------------------------------------------------------------------------

FEW = {"pos_few": 100, "chunk_few": 100, "predicate_few": 300, "ner_few": 500}
SOURCES = {"pos": 9000, "chunk": 8936, "predicate": 9000, "ner": 9000}


def test_tawt_prices_to_its_own_arithmetic(prices):
    """Every row is 128 tokens; 64 training sentences per task once per epoch."""
    price = prices("tawt")
    table = price.table.droplevel("n")
    joint = pretrain = weighting = 0.0
    for primary, few in FEW.items():
        sources = sum(SOURCES.values()) - SOURCES[primary.removesuffix("_few")]
        assert table.loc[(primary, "single"), "alone"] == pytest.approx(4 * 3 * few * SEQUENCE)
        one = table.loc[(primary, "tawt_joint")]
        assert one["joint"] == pytest.approx(4 * 3 * (sources + few) * SEQUENCE)
        assert one["weighting"] == pytest.approx(4 * 3 * 4 * 64 * SEQUENCE)  # the target's and three sources'
        assert table.loc[(primary, "joint"), "alone"] == pytest.approx(one["joint"])
        assert table.loc[(primary, "final_joint"), "alone"] == pytest.approx(2 * one["joint"] + one["weighting"])
        two = table.loc[(primary, "tawt_pretrain")]
        assert two["pretrain"] == pytest.approx(4 * 3 * sources * SEQUENCE)
        assert two["tune"] == pytest.approx(4 * 3 * few * SEQUENCE)
        assert two["weighting"] == pytest.approx(4 * (3 * 4 * 64 + few) * SEQUENCE)  # and the fit of the target's head
        # Under one per cent of the epochs it watches, but for the head's rows.
        assert one["weighting"] / one["joint"] < 0.01
        joint, pretrain = joint + 6 * one["joint"], pretrain + 3 * two["pretrain"]
        weighting += 2 * one["weighting"] + two["weighting"]
    # 05's trainings are those of the three tawt arms.
    assert price.total["joint"] == pytest.approx(joint)
    assert price.total["pretrain"] == pytest.approx(pretrain)
    assert price.total["weighting"] == pytest.approx(weighting)

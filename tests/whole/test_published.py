"""The authors' settings as study files: they hold what they ran, and their prices are the arithmetic of it."""

from collections import Counter

import pandas as pd
import pytest
import yaml

from auxlearn.data import schema
from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.studies import graph, study_file
from auxlearn.studies.pricing import price_fastmtl, prices

pytestmark = pytest.mark.usefixtures("planted_once")
FASTMTL = PROJECT / "params" / "published" / "fastmtl.yaml"
GRADTS = PROJECT / "params" / "published" / "gradts.yaml"
TAWT = PROJECT / "params" / "published" / "tawt.yaml"
TINY = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}


def forward(length):
    """One layer, width 4, feed-forward 8: FLOPs of a sequence (see test_pricing)."""
    return 256 * length + 16 * length**2


@pytest.fixture(scope="module")
def cells():
    return graph.validated(FASTMTL)


def values(cells, stage, name):
    """The distinct values of a parameter over a stage's cells, in order of appearance."""
    return list(dict.fromkeys(str(getattr(p, name)) for s, p in cells if s == stage))


def test_every_hyperparameter_is_the_authors(cells):
    """Sections 1 to 3 of the project's notes on FastMTL. What is listed here is one value in every cell."""
    encoder = {"encoder": "bert-base-cased", "max_length": 128, "suite": "params/suites/glue.yaml", "rows": 0}
    recipe = {"lr": 2e-5, "batch_size": 32, "pool": "pooler", "regression": "raw", "mixing": "homogeneous"}
    recipe |= {"loss_scale": "none", "keep_leaks": True, "precision": "bf16", "size": "full", "auxiliaries": []}
    proxy = {"proxies": "one", "proxy_rows": 500, "epochs": 5, "disc_weight": 1.0, "map_rows": 2000}
    stage2 = {"stage2_epochs": 3, "tune_epochs": 5, "single_epochs": 5, "choose": "dev", "seed_policy": "fixed"}
    wanted = {
        "02_td_proxy": encoder | recipe | proxy,
        "03_ranking": encoder | {"score": "sigmoid", "rule": "global", "keep_leaks": True, "auxiliaries": []},
        "06_mtl": encoder | recipe | stage2 | {"seeds": [0, 1, 2], "all_data_recipe": "same"},
    }
    for stage, given in wanted.items():
        assert {name: values(cells, stage, name) for name in given} == {k: [str(v)] for k, v in given.items()}
    assert values(cells, "06_mtl", "primary") == ["rte", "mrpc", "stsb"]
    assert values(cells, "06_mtl", "arm") == ["single", "random", "td_bce", "td_ce", "cie_ce", "all_data"]
    for stage in ("02_td_proxy", "03_ranking"):
        assert values(cells, stage, "seed") == ["0", "1", "2"]
        assert values(cells, stage, "discriminator") == ["bce", "ce"]
    chosen = {p.n for s, p in cells if s == "06_mtl" and p.arm == "td_bce"}
    assert chosen == set(price_fastmtl.GRID)


def test_optimiser_and_seeds_are_those_of_the_scripts(cells, small):
    """What no parameter says: AdamW without decay or warm-up, clipped at 1, stage 2 by seed 84 and tuning by 42."""
    from auxlearn.methods import arm_plans

    p = next(p for s, p in cells if s == "06_mtl" and p.arm == "all_data")
    p = p.model_copy(update={"primary": "topic_side"})
    everything = {name: list(range(len(task.train))) for name, task in small.items() if name != "topic_side"}
    chosen = pd.DataFrame([(t, r) for t, rows in everything.items() for r in rows], columns=["task", "row"])
    stage2, tune = arm_plans.arm(p, small, 1, chosen).phases
    assert (stage2.seed, tune.seed, stage2.epochs, tune.epochs, tune.choose) == (84, 42, 3, 5, "dev")
    assert stage2.recipe == tune.recipe
    recipe = tune.recipe
    assert (recipe.lr, recipe.batch_size, recipe.weight_decay, recipe.warmup, recipe.clip) == (2e-5, 32, 0, 0, 1)
    assert recipe.optimiser == "adamw"
    assert {name: len(rows) for name, rows in stage2.rows.items()} == dict.fromkeys(small.names, 80)  # no row held out


def test_three_primaries_share_six_proxies(cells):
    counts = Counter(stage for stage, _ in cells)
    assert counts["02_td_proxy"] == 2 * 3  # losses, seeds
    assert counts["03_ranking"] == 3 * 2 * 3 * 9
    assert counts["06_mtl"] == 3 * (4 * 9 + 2)


def test_it_prices_to_the_notes(cells):
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": "128"}, "tokens"),
        ({"tokens": {"topic_side": 10}}, "tokens are of topic_side, rows of"),
        ({"tokens": 129}, "129 tokens a row do not fit max_length, 128"),
        ({"rows": {"nothing": 5, "topic_side": 100}}, "expects.rows: of nothing, topic_side; 'planted' has"),
        ({"rows": {"topic_side": 0, "nothing": 5}}, "rows.topic_side"),
        ({"encoder": TINY | {"heads": 2}}, "encoder.heads"),
        ({"encoder": {"hidden_size": 4}}, "num_hidden_layers"),
        ({"lengths": 3}, "lengths"),
    ],
)
def test_expectations_are_strict(tmp_path, expects, change, message):
    assert graph.validated(written(tmp_path, expects))
    with pytest.raises(InputError) as error:
        graph.validated(written(tmp_path, expects | change))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"arm": ["random"], "n": [10**6]}}, "06_mtl can choose from"),
        ({"grid": {"primary": ["nothing"]}}, "task 'nothing' is not in suite"),
        ({"grid": {"arm": ["best"]}}, "arm: "),
        ({"grid": {"encoder": ["tiny", "minilm"]}}, "expects describes one encoder, but the study has minilm, tiny"),
    ],
)
def test_every_cell_is_checked_without_data(tmp_path, expects, changes, message, monkeypatch):
    from auxlearn.data import suites

    monkeypatch.setattr(suites, "load", lambda *a: pytest.fail("read the suite"))
    with pytest.raises(InputError) as error:
        graph.validated(written(tmp_path, expects, **changes))
    assert message in str(error.value)
    assert "study.yaml" in str(error.value)


def test_the_pool_of_a_single_proxy_lacks_its_rows(tmp_path, expects):
    """Seven auxiliaries; 60 rows of each trained the proxy."""
    pool = sum(expects["rows"].values()) - expects["rows"]["topic_side"] - 7 * 60
    for n, proxies, fits in ((pool, "one", True), (pool + 1, "one", False), (pool + 1, "crossfit", True)):
        grid, notebooks = {"arm": ["td_bce"], "n": [n]}, {"02_td_proxy": {"proxies": proxies, "proxy_rows": 60}}
        path = written(tmp_path, expects, grid=grid, notebooks=notebooks)
        if fits:
            assert graph.validated(path)
        else:
            with pytest.raises(InputError, match=f"03_ranking can choose from {pool}"):
                graph.validated(path)


def test_a_suite_of_another_size_is_not_run_at_that_price(tmp_path, expects):
    assert graph.load(written(tmp_path, expects)).cells
    wrong = expects | {"rows": expects["rows"] | {"topic_side": 7}}
    with pytest.raises(InputError, match=r"expects\.rows: the suite 'planted' has topic_side"):
        graph.load(written(tmp_path, wrong))


def test_validated_cells_are_those_that_load_makes(tmp_path):
    path = written(tmp_path, None, stages=study_file.DEFAULT_STAGES)
    decided = {"inputs", "device", "precision", "threads", "exit_layers"}  # where "auto" may be written
    plain = lambda p: p.model_dump(exclude=decided)  # noqa: E731
    loaded = [(cell.stage, plain(cell.params)) for cell in graph.load(path).cells]
    assert [(stage, plain(p)) for stage, p in graph.validated(path)] == loaded


# --- GradTS ----------------------------------------------------------------------------------------------------------

GLUE8 = ["cola", "mrpc", "sst2", "wnli", "mnli", "qnli", "rte", "qqp"]
TRAIN = dict(zip(GLUE8, (8_551, 3_668, 67_349, 635, 392_702, 104_743, 2_490, 363_846), strict=True))
TOKENS = dict(zip(GLUE8, (12, 53, 13, 37, 39, 51, 70, 31), strict=True))


def bert(name):
    """Forward FLOPs of a row of a task through BERT-base: 12 layers of width 768 and feed-forward 3,072."""
    return 12 * (TOKENS[name] * (8 * 768**2 + 4 * 768 * 3072) + 4 * 768 * TOKENS[name] ** 2)


@pytest.fixture(scope="module")
def gradts_cells():
    return graph.validated(GRADTS)


def test_every_hyperparameter_of_gradts_is_the_authors(gradts_cells):
    """Sections 1 and 3 to 7 of the project's notes on GradTS. What is listed here is one value in every cell."""
    encoder = {"encoder": "bert-base-cased", "max_length": 512, "suite": "params/suites/glue_gradts.yaml", "rows": 0}
    recipe = encoder | {"lr": 5e-5, "precision": "fp32", "keep_leaks": True, "loss_scale": "none", "auxiliaries": []}
    recipe |= {"seeds": [2018], "definition": "kv_columns", "pool": "pooler"}
    importance = {"tune_rows": 0, "importance_rows": 0, "epochs": 3, "batch_size": 4, "dropout": True}
    training = {"batch_size": 4 * 4, "mixing": "mixed", "stage2_epochs": 7, "single_epochs": 7, "choose": "dev"}
    training |= {"all_data_recipe": "mtdnn", "mtdnn_lr": 5e-5, "task_threshold": 0.6, "trial_rule": "code"}
    training |= {"trial_most": 7, "fg_tasks": "trial", "autosem_rule": "paper", "bandit_decay": 0.3}
    wanted = {"04_gradts_correlation": recipe | importance, "06_mtl": recipe | training}
    for stage, given in wanted.items():
        assert {name: values(gradts_cells, stage, name) for name in given} == {k: [str(v)] for k, v in given.items()}
    assert values(gradts_cells, "06_mtl", "primary") == GLUE8
    arms = ["single", "gradts_thres", "gradts_trial", "gradts_fg", "autosem_p1", "autosem", "all_data"]
    assert values(gradts_cells, "06_mtl", "arm") == arms
    counts = Counter(stage for stage, _ in gradts_cells)
    assert (counts["04_gradts_correlation"], counts["06_mtl"], counts["07_efficiency"]) == (1, 8 * 7, 8)


def test_gradts_candidates_are_glue_s_tasks_with_wnli_for_stsb():
    """Read from the YAML alone; what decides is the metric of the authors' continuation rule."""
    spec, _ = schema.read_suite(PROJECT / "params/suites/glue_gradts.yaml")
    glue, _ = schema.read_suite(PROJECT / "params/suites/glue.yaml")
    assert sorted(spec.tasks) == sorted(GLUE8)
    deciding = {"cola": "matthews", "mrpc": "f1", "qqp": "f1"}
    assert {name: task.metric for name, task in spec.tasks.items()} == dict.fromkeys(GLUE8, "accuracy") | deciding
    assert len({(task.source.hub, task.source.revision) for task in spec.tasks.values()}) == 1
    assert spec.tasks["wnli"].source.config == "wnli"
    assert set(glue.tasks) - set(spec.tasks) == {"stsb"}


def test_every_primary_can_have_all_rows_that_its_group_has(gradts_cells):
    for stage, p in gradts_cells:
        if stage == "06_mtl":
            without = "mnli" if p.primary in ("mnli", "qqp") else "qnli"
            assert p.n == sum(TRAIN.values()) - TRAIN[without] <= sum(TRAIN.values()) - TRAIN[p.primary]


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


# --- TAWT ------------------------------------------------------------------------------------------------------------

TOKEN_TASKS = ["pos", "chunk", "predicate", "ner"]
FEW = {"pos_few": 100, "chunk_few": 100, "predicate_few": 300, "ner_few": 500}
SOURCES = {"pos": 9000, "chunk": 8936, "predicate": 9000, "ner": 9000}
SCALES = {"pos_few": 30.0, "chunk_few": 1.0, "predicate_few": 1.0, "ner_few": 100.0}  # c of weighted pre-training
JOINT = ["joint", "tawt_joint", "final_joint", "normalised", "tawt_normalised", "final_normalised"]
PRETRAIN = ["pretrain", "tawt_pretrain", "final_pretrain"]


@pytest.fixture(scope="module")
def tawt_cells():
    return graph.validated(TAWT)


def test_every_hyperparameter_of_tawt_is_the_authors(tawt_cells):
    """Sections 1 to 3 of the project's notes on TAWT. What is listed here is one value in every cell."""
    recipe = {"encoder": "bert-base-cased", "max_length": 128, "rows": 0, "lr": 5e-5, "batch_size": 32, "seeds": [1]}
    recipe |= {"suite": "params/suites/tokens_published.yaml", "precision": "fp32", "loss_scale": "none"}
    recipe |= {"tawt_rule": "paper", "choose": "last", "steps": 0, "keep_leaks": True}
    for stage in ("05_tawt_weighting", "06_mtl"):
        assert {name: values(tawt_cells, stage, name) for name in recipe} == {k: [str(v)] for k, v in recipe.items()}
    assert values(tawt_cells, "06_mtl", "single_epochs") == ["4"]
    counts = Counter(stage for stage, _ in tawt_cells)
    assert (counts["05_tawt_weighting"], counts["06_mtl"], counts["07_efficiency"]) == (4 * 3, 4 * 10, 4)


def test_each_target_of_tawt_has_the_others_as_sources_its_epochs_and_its_c(tawt_cells):
    seen = Counter()
    for stage, p in tawt_cells:
        if stage not in ("05_tawt_weighting", "06_mtl"):
            continue
        assert p.auxiliaries == [name for name in TOKEN_TASKS if f"{name}_few" != p.primary]
        arm = p.arm if stage == "06_mtl" else f"tawt_{p.paradigm}"
        seen[stage, p.primary, arm] += 1
        if arm in PRETRAIN:
            assert (p.stage2_epochs, p.tune_epochs, p.weight_c) == (4, 4, SCALES[p.primary])
        elif arm in JOINT:
            assert (p.stage2_epochs + p.tune_epochs, p.weight_c) == (4, 1.0)
    assert set(seen.values()) == {1}
    assert {arm for stage, _, arm in seen if stage == "06_mtl"} == {"single", *JOINT, *PRETRAIN}


def test_tawt_s_rule_is_the_code_s():
    from auxlearn.methods.tawt import weighted_plans

    wanted = {"rule": "paper", "combine": "scaled_then_clipped", "target_rows": "train", "itself": True}
    wanted |= {"parameters": "encoder", "chunks": 1, "chunk_rows": 64, "every": 0, "eta": 1.0}
    assert wanted == weighted_plans.PAPER


def test_tawt_s_tasks_are_there_whole_and_with_few_sentences(monkeypatch):
    monkeypatch.setenv("AUXLEARN_DATA", "nowhere")
    spec, _ = schema.read_suite(PROJECT / "params/suites/tokens_published.yaml")
    assert list(spec.tasks) == [*SOURCES, *FEW]
    for name, rows in FEW.items():
        few, source = spec.tasks[name], spec.tasks[name.removesuffix("_few")]
        assert few.model_dump(exclude={"resplit"}) == source.model_dump(exclude={"resplit"})
        assert (few.resplit.train, few.resplit.rest) == (rows, "leave")
        assert name == "chunk_few" or source.resplit.train == 9000
        assert set(few.source.files) == {"train", "dev"}
    assert spec.tasks["chunk"].resplit is None  # all of CoNLL-2000
    assert {name: len(spec.tasks[name].labels) for name in ("chunk", "predicate", "ner")} == {
        "chunk": 23, "predicate": 2, "ner": 1 + 2 * 18
    }  # fmt: skip
    assert spec.tasks["predicate"].labels[1] == "predicate"  # f1 counts the second as positive
    assert [spec.tasks[name].metric for name in SOURCES] == ["accuracy", "entity_f1", "f1", "entity_f1"]


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

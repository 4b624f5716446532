"""The authors' settings as study files: they hold what they ran."""

import re
from collections import Counter

import pandas as pd
import pytest
import yaml

from auxlearn.data import suite_files
from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.methods.tawt import policies
from auxlearn.methods.tawt.options import TAWT
from auxlearn.paths import PROJECT
from auxlearn.studies import graph, study_file

pytestmark = pytest.mark.usefixtures("planted_once")
FASTMTL = PROJECT / "params" / "published" / "fastmtl.yaml"
GRADTS = PROJECT / "params" / "published" / "gradts.yaml"
OF_TAWT = PROJECT / "params" / "published" / "tawt.yaml"
TINY = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}


@pytest.fixture(scope="module")
def cells():
    return graph.validated(FASTMTL)


def values(cells, stage, name):
    """The distinct values of a parameter over a stage's cells, in order of appearance."""
    return list(dict.fromkeys(str(getattr(p, name)) for s, p in cells if s == stage))


def options(cells, stage, method, name):
    """The distinct values of a method's option over a stage's cells, in order of appearance."""
    item = registry.get(method)
    given = (registry.options(item, p.methods) for s, p in cells if s == stage)
    return list(dict.fromkeys(getattr(each, name) for each in given))


def test_every_hyperparameter_is_the_authors(cells):
    """Sections 1 to 3 of the project's notes on FastMTL. What is listed here is one value in every cell."""
    encoder = {"encoder": "bert-base-cased", "max_length": 128, "suite": "params/suites/glue.yaml", "rows": 0}
    recipe = {"lr": 2e-5, "batch_size": 32, "pool": "pooler", "regression": "raw", "mixing": "homogeneous"}
    recipe |= {"loss_scale": "none", "keep_leaks": True, "precision": "bf16", "size": "full", "auxiliaries": []}
    proxy = {"proxies": "one", "proxy_rows": 500, "epochs": 5, "disc_weight": 1.0, "map_rows": 2000}
    stage2 = {"stage2_epochs": 3, "tune_epochs": 5, "choose": "dev", "seed_policy": "fixed"}
    wanted = {
        "02_td_proxy": encoder | recipe | proxy,
        "03_ranking": encoder | {"score": "sigmoid", "rule": "global", "keep_leaks": True, "auxiliaries": []},
        "06_mtl": encoder | recipe | stage2 | {"seeds": [0, 1, 2]},
    }
    for stage, given in wanted.items():
        assert {name: values(cells, stage, name) for name in given} == {k: [str(v)] for k, v in given.items()}
    assert options(cells, "06_mtl", "single", "epochs") == [5]
    assert options(cells, "06_mtl", "all_data", "recipe") == ["same"]
    assert values(cells, "06_mtl", "primary") == ["rte", "mrpc", "stsb"]
    assert values(cells, "06_mtl", "arm") == ["single", "random", "td_bce", "td_ce", "cie_ce", "all_data"]
    for stage in ("02_td_proxy", "03_ranking"):
        assert values(cells, stage, "seeds") == ["[0, 1, 2]"]
        assert values(cells, stage, "discriminator") == ["bce", "ce"]
    chosen = {p.n for s, p in cells if s == "06_mtl" and p.arm == "td_bce"}
    assert chosen == {500, 1000, 2000, 5000, 10_000, 20_000, 100_000, 200_000, 500_000}


def test_optimiser_and_seeds_are_those_of_the_scripts(cells, small):
    """What no parameter says: AdamW without decay or warm-up, clipped at 1, stage 2 by seed 84 and tuning by 42."""
    from auxlearn.methods import arm_plans

    p = next(p for s, p in cells if s == "06_mtl" and p.arm == "all_data")
    p = p.model_copy(update={"primary": "topic_side"})
    everything = {name: list(range(len(task.train))) for name, task in small.items() if name != "topic_side"}
    chosen = pd.DataFrame([(t, r) for t, rows in everything.items() for r in rows], columns=["task", "row"])
    stage2, tune = arm_plans.two_stages(p, small, 1, chosen).phases
    assert (stage2.seed, tune.seed, stage2.epochs, tune.epochs, tune.choose) == (84, 42, 3, 5, "dev")
    assert stage2.recipe == tune.recipe
    recipe = tune.recipe
    assert (recipe.lr, recipe.batch_size, recipe.weight_decay, recipe.warmup, recipe.clip) == (2e-5, 32, 0, 0, 1)
    assert recipe.optimiser == "adamw"
    assert {name: len(rows) for name, rows in stage2.rows.items()} == dict.fromkeys(small.names, 80)  # no row held out


def test_three_primaries_share_the_proxies_of_each_loss(cells):
    counts = Counter(stage for stage, _ in cells)
    assert counts["02_td_proxy"] == 2  # losses; each of three seeds
    assert counts["03_ranking"] == 3 * 2 * 9
    assert counts["06_mtl"] == 3 * (4 * 9 + 2)


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


def test_checking_a_study_needs_no_data(tmp_path, monkeypatch):
    monkeypatch.delenv("AUXLEARN_DATA", raising=False)
    base = {"suite": "params/suites/power.yaml", "primary": "rte", "encoder": "minilm", "size": "full"}
    assert Counter(s for s, _ in graph.validated(written(tmp_path, None, base=base)))["06_mtl"] == 3


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


@pytest.fixture(scope="module")
def gradts_cells():
    return graph.validated(GRADTS)


def test_every_hyperparameter_of_gradts_is_the_authors(gradts_cells):
    """Sections 1 and 3 to 7 of the project's notes on GradTS. What is listed here is one value in every cell."""
    encoder = {"encoder": "bert-base-cased", "max_length": 512, "suite": "params/suites/glue_gradts.yaml", "rows": 0}
    recipe = encoder | {"lr": 5e-5, "precision": "fp32", "keep_leaks": True, "loss_scale": "none", "auxiliaries": []}
    recipe |= {"seeds": [2018], "pool": "pooler"}
    importance = {
        "definition": "kv_columns",
        "tune_rows": 0,
        "importance_rows": 0,
        "epochs": 3,
        "batch_size": 4,
        "dropout": True,
    }
    training = {"batch_size": 4 * 4, "mixing": "mixed", "stage2_epochs": 7, "choose": "dev"}
    wanted = {"04_gradts_correlation": recipe | importance, "06_mtl": recipe | training}
    for stage, given in wanted.items():
        assert {name: values(gradts_cells, stage, name) for name in given} == {k: [str(v)] for k, v in given.items()}
    own = {
        "single": {"epochs": 7}, "all_data": {"recipe": "mtdnn", "mtdnn_lr": 5e-5},
        "gradts_thres": {"definition": "kv_columns", "task_threshold": 0.6},
        "gradts_trial": {"definition": "kv_columns", "trial_rule": "code", "trial_most": 7},
        "gradts_fg": {"trial_rule": "code", "trial_most": 7, "fg_tasks": "trial"},
        "autosem_p1": {"autosem_rule": "paper", "bandit_decay": 0.3}, "autosem": {"autosem_rule": "paper"},
    }  # fmt: skip
    for method, given in own.items():
        assert {name: options(gradts_cells, "06_mtl", method, name) for name in given} == {
            name: [value] for name, value in given.items()
        }
    assert values(gradts_cells, "06_mtl", "primary") == GLUE8
    arms = ["single", "gradts_thres", "gradts_trial", "gradts_fg", "autosem_p1", "autosem", "all_data"]
    assert values(gradts_cells, "06_mtl", "arm") == arms
    counts = Counter(stage for stage, _ in gradts_cells)
    assert (counts["04_gradts_correlation"], counts["06_mtl"], counts["07_efficiency"]) == (1, 8 * 7, 8)


def test_gradts_candidates_are_glue_s_tasks_with_wnli_for_stsb():
    """Read from the YAML alone; what decides is the metric of the authors' continuation rule."""
    spec, _ = suite_files.read_suite(PROJECT / "params/suites/glue_gradts.yaml")
    glue, _ = suite_files.read_suite(PROJECT / "params/suites/glue.yaml")
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


# --- TAWT ------------------------------------------------------------------------------------------------------------

TOKEN_TASKS = ["pos", "chunk", "predicate", "ner"]
FEW = {"pos_few": 100, "chunk_few": 100, "predicate_few": 300, "ner_few": 500}
SOURCES = {"pos": 9000, "chunk": 8936, "predicate": 9000, "ner": 9000}
SCALES = {"pos_few": 30.0, "chunk_few": 1.0, "predicate_few": 1.0, "ner_few": 100.0}  # c of weighted pre-training
JOINT = ["joint", "tawt_joint", "final_joint", "normalised", "tawt_normalised", "final_normalised"]
PRETRAIN = ["pretrain", "tawt_pretrain", "final_pretrain"]


@pytest.fixture(scope="module")
def tawt_cells():
    return graph.validated(OF_TAWT)


def test_every_hyperparameter_of_tawt_is_the_authors(tawt_cells):
    """Sections 1 to 3 of the project's notes on TAWT. What is listed here is one value in every cell."""
    recipe = {"encoder": "bert-base-cased", "max_length": 128, "rows": 0, "lr": 5e-5, "batch_size": 32, "seeds": [1]}
    recipe |= {"suite": "params/suites/tokens_published.yaml", "precision": "fp32", "loss_scale": "none"}
    recipe |= {"choose": "last", "steps": 0, "keep_leaks": True}
    for stage in ("05_tawt_weighting", "06_mtl"):
        assert {name: values(tawt_cells, stage, name) for name in recipe} == {k: [str(v)] for k, v in recipe.items()}
    for name in (*JOINT, *PRETRAIN):
        assert options(tawt_cells, "06_mtl", name, "tawt_rule") == ["paper"]
    assert {p.options().tawt_rule for stage, p in tawt_cells if stage == "05_tawt_weighting"} == {"paper"}
    assert options(tawt_cells, "06_mtl", "single", "epochs") == [4]
    counts = Counter(stage for stage, _ in tawt_cells)
    assert (counts["05_tawt_weighting"], counts["06_mtl"], counts["07_efficiency"]) == (4 * 3, 4 * 10, 4)


def test_each_target_of_tawt_has_the_others_as_sources_its_epochs_and_its_c(tawt_cells):
    seen = Counter()
    c = lambda p: (p.options() if isinstance(p, TAWT) else p.options(p.policy)).weight_c  # noqa: E731
    for stage, p in tawt_cells:
        if stage not in ("05_tawt_weighting", "06_mtl"):
            continue
        assert p.auxiliaries == [name for name in TOKEN_TASKS if f"{name}_few" != p.primary]
        arm = p.arm if stage == "06_mtl" else f"tawt_{p.paradigm}"
        seen[stage, p.primary, arm] += 1
        if arm in PRETRAIN:
            assert (p.stage2_epochs, p.tune_epochs, c(p)) == (4, 4, SCALES[p.primary])
        elif arm in JOINT:
            assert (p.stage2_epochs + p.tune_epochs, c(p)) == (4, 1.0)
    assert set(seen.values()) == {1}
    assert {arm for stage, _, arm in seen if stage == "06_mtl"} == {"single", *JOINT, *PRETRAIN}


def test_tawt_s_rule_is_the_code_s():
    wanted = {"rule": "paper", "combine": "scaled_then_clipped", "target_rows": "train", "itself": True}
    wanted |= {"parameters": "encoder", "chunks": 1, "chunk_rows": 64, "every": 0, "eta": 1.0}
    assert wanted == policies.PAPER


def test_tawt_s_tasks_are_there_whole_and_with_few_sentences(monkeypatch):
    monkeypatch.setenv("AUXLEARN_DATA", "nowhere")
    spec, _ = suite_files.read_suite(PROJECT / "params/suites/tokens_published.yaml")
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


def test_no_page_says_where_on_a_machine_something_lay():
    """A page's parameters are strings of its first code cell."""
    pages = sorted((PROJECT / "reports").glob("*/*.html"))
    assert len(pages) > 100
    named = {page: re.findall(r'class="s[12]">["\'](/[^"\'<]+)', page.read_text(encoding="utf-8")) for page in pages}
    assert {page.name: paths for page, paths in named.items() if paths} == {}

import functools
import json
import os

import pytest
import yaml

from auxlearn.data import suites
from auxlearn.data.reading import readers
from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.paths import PROJECT
from auxlearn.records import code_hash, runs
from auxlearn.reporting.pages import report
from auxlearn.studies import graph, parameters, run_status, study_file, unread_expansion
from auxlearn.studies.engine import runner
from helpers import write_jsonl

pytestmark = pytest.mark.usefixtures("planted_once")
BASE = {"suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "rows": 100, "seeds": [0, 1]}


def written(tmp_path, **changes):
    path = tmp_path / "study.yaml"
    content = {"study": "s", "base": BASE, "grid": {"arm": ["single", "random", "td_bce"], "n": [20]}}
    path.write_text(yaml.safe_dump(content | changes))
    return path


def stages(study):
    return [cell.stage for cell in study.cells]


def test_a_study_makes_what_its_cells_need_and_no_more(tmp_path):
    study = graph.load(written(tmp_path))
    assert stages(study).count("06_mtl") == 3
    assert stages(study).count("02_td_proxy") == 1  # of both seeds
    assert stages(study).count("03_ranking") == 1
    assert stages(study).count("07_efficiency") == stages(study).count("01_data_prep") == 1
    seen = set()
    for cell in study.cells:
        assert all(up.key in seen for up in cell.reads)
        seen.add(cell.key)
    assert next(c.reads for c in study.cells if c.stage == "06_mtl") == []
    without = graph.load(written(tmp_path, grid={"arm": ["single", "random"], "n": [20]}))
    assert "02_td_proxy" not in stages(without)


def test_rows_of_the_primary_that_each_seed_draws_are_counted_for_every_notebook(tmp_path):
    assert "01_data_prep" in stages(graph.load(written(tmp_path, base=BASE | {"primary_rows": 50})))
    with pytest.raises(InputError, match="primary_rows: 101 asked for, but 'topic_side' has 100 usable training rows"):
        graph.load(written(tmp_path, base=BASE | {"primary_rows": 101}))


def test_notebooks_named_by_per_seed_have_a_cell_for_each_seed(tmp_path):
    """Whoever reads them reads one per seed; the others stay one cell."""

    def cells(*per_seed, **changes):
        made = graph.load(written(tmp_path, per_seed=list(per_seed), **changes)).cells
        return {stage: [c for c in made if c.stage == stage] for stage in dict.fromkeys(c.stage for c in made)}

    seeds = lambda cells: [c.params.seeds for c in cells]  # noqa: E731
    both = cells("02_td_proxy", "03_ranking")
    assert seeds(both["02_td_proxy"]) == seeds(both["03_ranking"]) == [[0], [1]]
    for proxy, ranking in zip(both["02_td_proxy"], both["03_ranking"], strict=True):
        assert ranking.reads == [proxy]
    arm = both["06_mtl"][-1]
    assert (arm.params.arm, arm.reads) == ("td_bce", both["03_ranking"])
    first = cells("02_td_proxy")
    assert seeds(first["03_ranking"]) == [[0, 1]]
    assert first["03_ranking"][0].reads == first["02_td_proxy"]
    second = cells("03_ranking")
    assert seeds(second["02_td_proxy"]) == [[0, 1]]
    assert [c.reads for c in second["03_ranking"]] == [second["02_td_proxy"]] * 2
    wanted = cells("02_td_proxy", stages=["02_td_proxy"])
    assert seeds(wanted["02_td_proxy"]) == [[0], [1]]
    weights = cells("05_tawt_weighting", grid={"arm": ["final_joint"]}, stages=["06_mtl"])
    assert seeds(weights["05_tawt_weighting"]) == [[0], [1]]
    for stage in ("01_data_prep", "06_mtl", "07_efficiency"):
        with pytest.raises(InputError, match=f"per_seed: {stage} has all seeds in one run"):
            cells(stage)


def test_options_reach_each_notebook_that_has_methods(tmp_path):
    given = {
        "grid": {"arm": ["tawt_joint", "final_joint", "gradts_trial"]}, "stages": ["06_mtl"],
        "methods": {"tawt": {"weight_every": 7}, "gradts_trial": {"trial_most": 2}},
    }  # fmt: skip
    cells = graph.load(written(tmp_path, **given)).cells
    (watched,) = (c for c in cells if c.stage == "05_tawt_weighting")
    assert watched.params.options().weight_every == 7
    arms = {c.params.arm: c.params for c in cells if c.stage == "06_mtl"}
    assert arms["tawt_joint"].options(arms["tawt_joint"].policy).weight_every == 7
    assert arms["gradts_trial"].options(arms["gradts_trial"].method).trial_most == 2
    nearer = given | {"notebooks": {"06_mtl": {"methods": {"tawt": {"weight_every": 9}}}}}
    arms = {c.params.arm: c.params for c in graph.load(written(tmp_path, **nearer)).cells if c.stage == "06_mtl"}
    assert arms["tawt_joint"].options(arms["tawt_joint"].policy).weight_every == 9


@pytest.mark.parametrize(
    ("proxies", "arms", "given", "candidates"),
    [
        ("one", ["single", "random", "td_ce", "td_bce"], {}, "td_ce"),
        ("one", ["single", "random", "quota_bce+tawt_joint"], {}, "quota_bce"),
        ("one", ["single", "random", "td_bce"], {"random": {"candidates_of": ""}}, ""),
        ("one", ["single", "random", "gradts_thres"], {}, ""),
        ("crossfit", ["single", "random", "td_bce"], {"fastmtl": {"proxies": "one"}}, "td_bce"),
        ("crossfit", ["single", "random", "td_bce"], {}, ""),
    ],
)
def test_random_draws_no_row_that_trained_the_single_proxy_it_is_compared_with(
    tmp_path, proxies, arms, given, candidates
):
    study = graph.load(
        written(tmp_path, grid={"arm": arms}, notebooks={"02_td_proxy": {"proxies": proxies}}, methods=given)
    )
    (cell,) = [c for c in study.cells if c.stage == "06_mtl" and c.params.arm == "random"]
    assert cell.params.options(cell.params.method).candidates_of == candidates


def test_random_draws_so_where_03_says_which_proxies(tmp_path):
    given = {"grid": {"arm": ["single", "random", "td_bce"]}, "notebooks": {"03_ranking": {"proxies": "one"}}}
    (cell,) = [c for c in graph.load(written(tmp_path, **given)).cells if getattr(c.params, "arm", "") == "random"]
    assert cell.params.options(cell.params.method).candidates_of == "td_bce"


@pytest.mark.parametrize(
    "given",
    [
        {"base": BASE | {"methods": {"single": {"epochs": 9}}}, "methods": {"fastmtl": {"score": "margin"}}},
        {"methods": {"single": {"epochs": 9}}, "notebooks": {"06_mtl": {"methods": {"fastmtl": {"score": "margin"}}}}},
        {"methods": {"single": {"epochs": 9}, "fastmtl": {"score": "any"}},
         "grid": {"arm": ["single", "random", "td_bce"], "methods": [{"fastmtl": {"score": "margin"}}]}},
    ],
)  # fmt: skip
def test_options_of_several_places_are_put_together_and_the_nearest_wins(tmp_path, given):
    """And so is what `random` is told where a single proxy ranks: it replaces nothing that the file says."""
    notebooks = given.get("notebooks", {}) | {"02_td_proxy": {"proxies": "one"}}
    path = written(tmp_path, **given | {"notebooks": notebooks, "stages": ["06_mtl"]})
    options = {p.arm: p.options(p.method) for stage, p in graph.validated(path) if stage == "06_mtl"}
    assert options["single"].epochs == 9
    assert options["td_bce"].score == "margin"
    assert options["random"].candidates_of == "td_bce"


def test_rows_that_a_warmed_up_score_may_choose_are_in_the_key_of_what_draws_from_them(tmp_path):
    def key(warm_rows):
        options = {"random": {"candidates_of": "less"}, "scores": {"warm_rows": warm_rows}}
        study = written(tmp_path, grid={"arm": ["random"], "n": [20]}, methods=options, stages=["06_mtl"])
        (cell,) = [c for c in graph.load(study).cells if c.stage == "06_mtl"]
        return cell.key

    assert key(20) == key(20) != key(30)


def test_a_family_of_tests_is_no_smaller_than_what_is_tested(tmp_path):
    """Of a study of two primaries all tests count, whatever its block says."""
    grid, tests = {"arm": ["single", "random", "td_bce"], "n": [20]}, ["random - single", "td_bce - single"]
    with pytest.raises(InputError, match="family: 1 tests, but 2 are made here alone"):
        graph.validated(written(tmp_path, grid=grid, notebooks={"07_efficiency": {"tests": tests, "family": 1}}))
    grid |= {"primary": ["topic_side", "look_alike"]}
    path = written(tmp_path, grid=grid, notebooks={"07_efficiency": {"tests": tests, "family": 3}})
    assert [p.family for stage, p in graph.validated(path) if stage == "07_efficiency"] == [4, 4]


def test_seeds_that_differ_between_notebooks_are_named(tmp_path):
    own = {"06_mtl": {"seeds": [0, 1, 2, 3]}}
    grid = {"arm": ["td_bce", "quota_bce"], "n": [20]}
    path = written(tmp_path, grid=grid, stages=["02_td_proxy", "03_ranking", "06_mtl"], notebooks=own)
    with pytest.raises(InputError, match=r"notebooks\.06_mtl: seeds has to be the same in all notebooks"):
        graph.validated(path)


def test_what_a_method_reads_does_not_depend_on_the_order_of_arms(tmp_path):
    """A ranking by options of another arm also fits an arm that takes any, and came first."""
    with registry.restored():
        registry.variant("by_sigmoid", "td_bce", "by sigmoid", score="sigmoid", proxies="one")
        read = {}
        for arms in (["by_sigmoid", "td_bce"], ["td_bce", "by_sigmoid"]):
            study = graph.load(written(tmp_path, grid={"arm": arms, "n": [20]}, stages=["06_mtl"]))
            read[arms[0]] = {c.params.arm: [u.key for u in c.reads] for c in study.cells if c.stage == "06_mtl"}
        assert read["by_sigmoid"] == read["td_bce"]
        assert read["td_bce"]["td_bce"] != read["td_bce"]["by_sigmoid"]
        # A board of both, found once for each value of an axis that does not concern it.
        grid = {"arm": ["only"], "n": [20], "methods.only.task": ["topic_name", "look_alike"]}
        board = {"08_validity": {"selectors": ["td_bce", "by_sigmoid"], "oracle": ["topic_name", "look_alike"]}}
        study = graph.load(
            written(tmp_path, grid=grid, stages=["03_ranking", "06_mtl", "08_validity"], notebooks=board)
        )
        (cell,) = (c for c in study.cells if c.stage == "08_validity")
        assert [c.stage for c in cell.reads].count("03_ranking") == 2


def test_options_may_be_a_grid(tmp_path):
    most = [{"gradts_trial": {"trial_most": k}} for k in (1, 2)]
    grid = {"arm": ["random", "gradts_trial"], "methods": most}
    study = graph.load(written(tmp_path, grid=grid, stages=["06_mtl"]))
    arms = [c.params.arm for c in study.cells if c.stage == "06_mtl"]
    assert arms == ["random", "gradts_trial", "gradts_trial"]  # random is the same with either
    fewer = graph.load(written(tmp_path, grid=grid, stages=["06_mtl"], exclude=[{"methods": most[1]}]))
    assert [c.params.methods for c in fewer.cells if c.stage == "06_mtl"] == [most[0]] * 2


def test_three_primaries_and_two_sizes_share_one_proxy(tmp_path):
    grid = {"primary": ["topic_side", "topic_name", "look_alike"], "arm": ["single", "td_bce"], "n": [20, 30]}
    study = graph.load(written(tmp_path, grid=grid))
    assert stages(study).count("02_td_proxy") == 1
    assert stages(study).count("03_ranking") == 3 * 2
    assert stages(study).count("06_mtl") == 3 * (2 + 1)  # single does not depend on n
    assert stages(study).count("07_efficiency") == 3 * 2
    compared = [c for c in study.cells if c.stage == "07_efficiency"]
    # Each also reads the other n, for the curve.
    assert all([up.params.arm for up in cell.reads] == ["single", "td_bce", "td_bce"] for cell in compared)
    assert {cell.reads[1].params.n for cell in compared} == {20, 30}
    assert {cell.params.family for cell in compared} == {6}  # td_bce against single, for three primaries and two n
    assert all(cell.reads[1].params.n == cell.params.n != cell.reads[2].params.n for cell in compared)


def test_a_study_s_family_counts_declared_pairs_of_all_comparisons(tmp_path):
    grid = {"primary": ["topic_side", "topic_name"], "arm": ["single", "random", "td_bce"], "n": [20]}

    def families(**more):
        made = graph.load(written(tmp_path, grid=grid | more.pop("grid", {}), **more))
        return [cell.params.family for cell in made.cells if cell.stage == "07_efficiency"]

    assert families() == [6, 6]  # of each primary: random and td_bce against single, td_bce against random
    assert families(notebooks={"07_efficiency": {"tests": ["td_bce - random"]}}) == [2, 2]
    assert families(grid={"primary": ["topic_side"]}) == [0]  # one comparison knows its own
    with pytest.raises(InputError, match="'td_ce' is not among the arms"):
        families(notebooks={"07_efficiency": {"tests": ["td_ce - random"]}})


def test_exclude_leaves_combinations_out(tmp_path):
    grid = {"arm": ["single", "random"], "n": [20, 30]}
    study = graph.load(written(tmp_path, grid=grid, exclude=[{"arm": "random", "n": 30}], stages=["06_mtl"]))
    assert [(c.params.arm, c.params.n) for c in study.cells] == [("single", 20), ("random", 20)]


def test_what_is_excluded_is_not_made_again_for_the_comparison(tmp_path):
    grid = {"arm": ["single", "random", "td_bce"], "n": [20, 30, 40]}
    gone = [{"arm": "td_bce", "n": 30}, {"arm": "td_bce", "n": 40}, {"arm": "random", "n": 40}]
    study = graph.load(written(tmp_path, grid=grid, exclude=gone))
    trained = sorted((c.params.arm, c.params.n) for c in study.cells if c.stage == "06_mtl")
    assert trained == [("random", 20), ("random", 30), ("single", 20), ("td_bce", 20)]
    compared = {c.params.n: c for c in study.cells if c.stage == "07_efficiency"}
    assert set(compared) == {20, 30}  # at 40 nothing is left to compare
    assert compared[20].params.arms == ["single", "random", "td_bce"]
    assert compared[20].params.left_out == ["td_bce 30", "random 40", "td_bce 40"]
    assert [(up.params.arm, up.params.n) for up in compared[20].reads][1:] == [
        ("random", 20), ("td_bce", 20), ("random", 30),
    ]  # fmt: skip
    assert compared[30].params.arms == ["single", "random"]
    whole = graph.load(written(tmp_path, grid=grid))
    assert {tuple(c.params.left_out) for c in whole.cells if c.stage == "07_efficiency"} == {()}


def test_what_is_excluded_is_left_out_of_arms_that_the_file_names_itself(tmp_path):
    arms = ["single", "random", "all_data"]
    grid, gone = {"arm": arms, "n": [20, 40]}, [{"arm": "random", "n": 40}]
    study = graph.load(written(tmp_path, grid=grid, exclude=gone, notebooks={"07_efficiency": {"arms": arms}}))
    assert [c.params.n for c in study.cells if c.stage == "06_mtl" and c.params.arm == "random"] == [20]
    compared = {c.params.n: c.params for c in study.cells if c.stage == "07_efficiency"}
    assert compared[20].left_out == ["random 40"]
    assert compared[40].arms == ["single", "all_data"]
    told = {"curve": [30, 40], "left_out": ["random 30"]}
    study = graph.load(written(tmp_path, grid=grid | {"n": [20]}, exclude=gone, notebooks={"07_efficiency": told}))
    assert study.cells[-1].params.left_out == ["random 40", "random 30"]


def test_an_arm_that_does_not_depend_on_n_is_excluded_at_all_or_not_at_all(tmp_path):
    grid = {"arm": ["single", "random", "all_data"], "n": [20, 30]}

    def compared(*exclude):
        made = graph.load(written(tmp_path, grid=grid, exclude=list(exclude))).cells
        return [c.params.arms for c in made if c.stage == "07_efficiency"]

    whole = grid["arm"]
    assert compared({"arm": "single", "n": 30}, {"arm": "all_data", "n": 30}) == [whole, whole]
    assert compared(*({"arm": "all_data", "n": n} for n in (20, 30))) == [whole[:2], whole[:2]]
    with pytest.raises(InputError, match="exclude: leaves out single at every n"):
        compared({"arm": "single"})


def test_where_no_arm_draws_rows_n_is_not_shown(tmp_path):
    labels = lambda arms: {c.label for c in graph.load(written(tmp_path, grid={"arm": arms})).cells}  # noqa: E731
    assert not any("n=" in label for label in labels(["single", "all_data"]))
    assert "07_efficiency topic_side n=200 seeds=[0, 1]" in labels(["single", "all_data", "random"])


def test_one_parameter_changed_changes_only_what_depends_on_it(tmp_path):
    keys = lambda **changes: {(c.stage, c.key) for c in graph.load(written(tmp_path, **changes)).cells}  # noqa: E731
    base = keys()
    renamed = keys(study="another")
    assert renamed == base
    tuned = keys(notebooks={"06_mtl": {"tune_epochs": 2}})
    assert sorted(stage for stage, _ in tuned - base) == ["06_mtl", "06_mtl", "07_efficiency"]  # single does not use it
    proxied = keys(notebooks={"02_td_proxy": {"epochs": 2}})
    assert {stage for stage, _ in proxied - base} == {"02_td_proxy", "03_ranking", "06_mtl", "07_efficiency"}
    assert sum(stage == "06_mtl" for stage, _ in proxied - base) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": BASE | {"learning_rate": 1}}, "no notebook has a parameter 'learning_rate'"),
        ({"grid": {"arms": [], "n": [2]}}, "grid: arms has no values"),
        ({"grid": {"arm": ["best"]}}, "arm: "),
        ({"exclude": [{"seed": 1}]}, "exclude: seed is not in grid"),
        ({"exclude": [{"arm": "radnom"}]}, r"exclude: arm: 'radnom' is not in grid; did you mean 'random'\?"),
        ({"exclude": [{"n": "30"}]}, "exclude: n: '30' is not in grid"),
        ({"exclude": [{"arm": ["random"]}]}, r"exclude: arm: \['random'\] is not in grid"),
        ({"exclude": [{}]}, "exclude: an entry is empty"),
        ({"grid": {"arm": ["random"], "n": [30, 30]}}, "grid: n has 30 twice"),
        ({"notebooks": {"06_mtl": {"max_length": 16}}}, "notebooks.06_mtl: max_length has to be the same .* in base"),
        ({"notebooks": {"02_td_proxy": {"precision": "bf16"}}}, "notebooks.02_td_proxy: precision has to be the same"),
        ({"notebooks": {"06_mtl": {"arm": "random"}}}, "notebooks.06_mtl: arm is an axis of grid"),
        ({"stages": []}, "stages: "),
        ({"exclude": [{"n": 30}], "notebooks": {"07_efficiency": {"curve": 30}}}, "curve: "),
        ({"exclude": [{"arm": "random"}], "notebooks": {"07_efficiency": {"arms": [1, "single"]}}}, "arms"),
        ({"base": BASE | {"seeds": 3}, "stages": ["03_ranking"]}, "base: seeds: 3 is not a list of seeds"),
        ({"base": BASE | {"seeds": []}, "stages": ["03_ranking"]}, r"base: seeds: \[\] is not a list of seeds"),
        ({"stages": ["08_magic"]}, "no notebook is called '08_magic'"),
        ({"notebooks": {"06_mtl": {"scores": "auto"}}}, "unknown parameter 'scores'"),
        ({"notebooks": {"06_mtl": {"score": "auto"}}}, "06_mtl: .*give it as methods: {fastmtl: {score: …}}"),
        ({"notebooks": {"06_mtl": {"lrr": 1}}}, "notebooks.06_mtl: unknown parameter 'lrr'; did you mean 'lr'"),
        ({"notebooks": {"06_mtl": {"single_epochs": 1}}}, "06_mtl: .*give it as methods: {single: {epochs: …}}"),
        ({"base": BASE | {"single_epochs": 1}}, "base: .*give it as methods: {single: {epochs: …}}"),
        ({"base": BASE | {"weight_every": 1}}, "base: .*give it as methods: {tawt: {weight_every: …}}"),
        ({"grid": {"trial_most": [1, 2]}}, "grid: .*give it as methods: {gradts: {trial_most: …}}"),
        ({"base": BASE | {"seed": 1}}, r"no notebook has a parameter 'seed'; did you mean 'seeds'\?"),
        ({"methods": {"gradts_trail": {}}}, "'gradts_trail' is no method or family of methods; did you mean"),
        ({"methods": {"tawt": {"single": 1}}, "stages": ["01_data_prep"]}, "tawt has no option 'single'"),
        ({"plugins": ["not_there.py"]}, "plugins: .*not_there.py: FileNotFoundError"),
        ({"plugins": ["no.such.module"]}, "plugins: no.such.module: ModuleNotFoundError"),
        ({"per_seed": ["08_magic"]}, "no notebook is called '08_magic'"),
        ({"base": BASE | {"primary": "nothing"}}, "task 'nothing' is not in suite"),
        ({"base": BASE | {"size": "demo", "encoder": "minilm"}}, "starter"),
        ({"gird": {}}, "gird"),
        ({"grid": {"arm": ["random"], "n": [701]}, "stages": ["06_mtl"]}, "06_mtl can choose from 700"),
        ({"grid": {"arm": ["td_bce"], "n": [701]}, "stages": ["06_mtl"]}, "03_ranking can choose from 700"),
        (
            {
                "grid": {"arm": ["td_bce"], "n": [281]},
                "stages": ["06_mtl"],
                "notebooks": {"02_td_proxy": {"proxies": "one"}},
            },
            "03_ranking can choose from 280",  # 60 rows a task trained the proxy
        ),
        (
            {"grid": {"arm": ["loss"], "n": [421]}, "stages": ["06_mtl"], "methods": {"loss": {"warm_rows": 40}}},
            "06_mtl can choose from 420",  # its model was warmed up on 40 rows a task
        ),
        ({"grid": {"lr": [0.1, 0.2]}, "base": BASE | {"arm": "single"}}, "leave 07_efficiency out"),
        (
            {"base": BASE | {"auxiliaries": ["word_class"]}, "grid": {"arm": ["shuffled_joint"]}, "stages": ["06_mtl"]},
            "shuffled_joint: needs 2 tasks beside the primary 'topic_side', and .* gives word_class",
        ),
    ],
)
def test_a_bad_study_is_refused_before_its_first_job(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        graph.load(written(tmp_path, **changes))


@pytest.mark.parametrize("name", ["seed", "task", "row"])
def test_a_task_that_is_called_as_a_column_of_tables_by_task_is_refused(tmp_path, runs_folder, name):
    suite = tmp_path / "suite.yaml"
    write_jsonl(tmp_path / "t" / "train.jsonl", [{"a": f"x {i}", "y": i % 2} for i in range(60)])
    task = {"kind": "classification", "inputs": ["a"], "label": "y", "labels": ["n", "p"], "metric": "accuracy"}
    suite.write_text(yaml.safe_dump({"name": "s", "tasks": {name: task | {"source": {"folder": "t"}}}}))
    study = written(tmp_path, base=BASE | {"suite": str(suite), "primary": name}, stages=["01_data_prep"])
    with pytest.raises(InputError, match=f"a task is called '{name}'"):
        graph.load(study)


@pytest.mark.parametrize(
    "arm", ["step_matched", "random", "all_data", "gradts_thres", "autosem", "td_bce", "tawt_joint"]
)
def test_a_suite_of_one_task_is_for_arms_that_choose_no_rows(tmp_path, runs_folder, arm):
    for split in ("train", "dev", "test"):
        write_jsonl(tmp_path / "t" / f"{split}.jsonl", [{"a": f"{split} {i}", "y": i % 2} for i in range(8)])
    task = {"kind": "classification", "inputs": ["a"], "label": "y", "labels": ["n", "p"], "metric": "accuracy"}
    suite = tmp_path / "one.yaml"
    suite.write_text(yaml.safe_dump({"name": "one", "tasks": {"t": task | {"source": {"folder": "t"}}}}))
    base = BASE | {"suite": str(suite), "primary": "t"}
    study = written(tmp_path, base=base, grid={"arm": ["single", arm], "n": [2]})
    for read in (graph.validated, graph.load):
        if arm == "step_matched":
            read(study)
            continue
        with pytest.raises(InputError, match=r"needs another task beside the primary 't'.*add a task"):
            read(study)


@pytest.fixture(scope="module")
def read_once(tmp_path_factory):
    """Several studies share a suite, and several suites a file: each is read once, and searched once for leaks.

    The run folder keeps what was found of leaks.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suites.Suite, "from_yaml", functools.cache(suites.Suite.from_yaml))
        patch.setattr(readers, "read_file", functools.cache(readers.read_file))
        yield tmp_path_factory.mktemp("runs")


COMMITTED = sorted(p.name for p in (PROJECT / "params" / "studies").glob("*.yaml"))


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_studies_are_valid_as_far_as_their_files_tell(name):
    assert graph.validated(PROJECT / "params" / "studies" / name)


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_studies_are_valid(name, request, read_once, monkeypatch):
    monkeypatch.setenv("AUXLEARN_RUNS", str(read_once))
    path = PROJECT / "params" / "studies" / name
    if "AUXLEARN" in path.read_text() or "suites/" in path.read_text():
        request.getfixturevalue("data")
    if "AUXLEARN_ENCODERS" in path.read_text() and not os.environ.get("AUXLEARN_ENCODERS"):
        assert graph.validated(path)  # the second encoder is not here; set AUXLEARN_ENCODERS
        return
    assert graph.load(path).cells


def test_every_cell_has_its_parameters_and_papermill_line(tmp_path, runs_folder):
    study = graph.load(written(tmp_path))
    plan, todo = runner.prepare(study)
    assert len(todo) == len(study.cells)
    for cell in json.loads(plan.read_text())["cells"]:
        home = runs_folder / cell["stage"] / cell["key"]
        injected = yaml.safe_load((home / "params.yaml").read_text())
        assert set(injected) == {*parameters.SHOWN[cell["stage"]], "settings"}
        assert (home / "command.txt").read_text().startswith(f"papermill notebooks/{cell['stage']}.ipynb")
        again = parameters.check(cell["stage"], injected)
        assert again.model_dump() == cell["params"]  # papermill's way through YAML changes nothing


@pytest.mark.parametrize(("device", "gpus"), [("cuda", {"01_data_prep": 1, "06_mtl": 3}), ("cpu", None)])
def test_every_process_of_a_cell_asks_for_its_own_threads_and_device(tmp_path, device, gpus):
    base = BASE | {"device": device, "threads": 2, "processes": 3, "seeds": [0]}
    path = written(tmp_path, base=base, grid={"arm": ["single"]}, stages=["01_data_prep", "06_mtl"])
    cells = graph.as_plan(graph.load(path, elsewhere=True))["cells"]
    assert {c["stage"]: c["threads"] for c in cells} == {"01_data_prep": 2, "06_mtl": 6}
    assert {c["stage"]: c["gpus"] for c in cells} == (gpus or {"01_data_prep": 0, "06_mtl": 0})


def test_a_stale_manifest_is_set_aside_before_snakemake_looks(tmp_path, runs_folder, monkeypatch):
    study = graph.load(written(tmp_path, stages=["01_data_prep"]))
    (cell,) = study.cells
    run = runs.Run(
        cell.stage, cell.key, cell.params.model_dump(), cell.suite, [], cell.params.key_params(), ("seeding",)
    )
    run.path("x.txt").write_text("1")
    run.finish(["x.txt"], {})
    assert runner.prepare(study)[1] == []
    monkeypatch.setattr(code_hash, "code_hash", lambda *a: "changed")
    assert len(runner.prepare(study)[1]) == 1
    assert (run.folder / "manifest.stale.json").is_file()
    assert not (run.folder / "manifest.json").exists()


def test_publishing_refuses_what_is_unfinished_or_unknown(tmp_path):
    with pytest.raises(InputError, match="has not been run here"):
        report.publish("nothing")
    runner.prepare(graph.load(written(tmp_path)))
    with pytest.raises(InputError, match=r"was interrupted|is not there"):
        report.publish("s")


def test_one_option_is_an_axis_of_the_grid(tmp_path):
    """Labels show it, where the arm has it; what is excluded by it is left out; the rest of `methods` stays."""
    study = {
        "study": "sweep", "base": {"suite": "planted", "primary": "topic_side", "size": "full", "encoder": "tiny"},
        "grid": {"arm": ["single", "random", "tawt_joint"], "methods.single.epochs": [3, 5],
                 "methods.tawt.weight_c": [1.0, 30.0]},
        "exclude": [{"arm": "single", "methods.single.epochs": 5}], "stages": ["06_mtl"],
        "methods": {"tawt": {"tawt_rule": "paper"}},
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(study))
    cells = graph.expanded(path, unread_expansion.Unread(study_file.read(path)))
    assert [cell.label.partition(" topic_side ")[2] for cell in cells] == [
        "single seeds=[0, 1] epochs=3", "random n=200 seeds=[0, 1]",
        "tawt_joint seeds=[0, 1] weight_c=1.0", "tawt_joint seeds=[0, 1] weight_c=30.0",
    ]  # fmt: skip
    assert [cell.params.methods["tawt"] for cell in cells[2:]] == [
        {"tawt_rule": "paper", "weight_c": 1.0}, {"tawt_rule": "paper", "weight_c": 30.0},
    ]  # fmt: skip
    plain = study | {"grid": {"arm": ["tawt_joint"], "methods": [{"tawt": {"tawt_rule": "paper", "weight_c": c}}
                                                                for c in (1.0, 30.0)]}, "exclude": []}  # fmt: skip
    path.write_text(yaml.safe_dump(plain))
    again = graph.expanded(path, unread_expansion.Unread(study_file.read(path)))
    assert [c.key for c in again] == [c.key for c in cells[2:]]
    outcomes = [
        run_status.Outcome({"stage": c.stage, "key": c.key, "label": "", "params": c.params.model_dump()}, "", None)
        for c in cells
    ]
    assert "tawt.weight_c 30.0" in run_status.parameters(outcomes)[3]


@pytest.mark.parametrize(
    ("axis", "said"),
    [("methods.tawt.weightc", "tawt has no option 'weightc'; did you mean 'weight_c'"),
     ("methods.tawtt.weight_c", "'tawtt'"),
     ("methods.tawt", "write methods.METHOD.OPTION"), ("methods.single.epochs", "single: epochs")],
)  # fmt: skip
def test_an_axis_over_no_option_is_refused(tmp_path, axis, said):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        yaml.safe_dump({"study": "s", "base": {"suite": "planted", "primary": "topic_side"}, "grid": {axis: [0]}})
    )
    with pytest.raises(InputError, match=f"grid: .*{said}"):
        graph.validated(path)


@pytest.mark.parametrize("checked", [graph.validated, graph.load])
def test_what_cannot_work_is_refused_before_anything_is_trained(tmp_path, checked):
    """The planted pool is known without data; a metric that one row does not have is no sentence test's."""
    path = tmp_path / "s.yaml"
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "encoder": "tiny", "rows": 100}
    study = {"study": "s", "base": base, "grid": {"arm": ["single", "random"], "n": [600]}}
    path.write_text(yaml.safe_dump(study))
    assert checked(path)
    path.write_text(yaml.safe_dump(study | {"grid": {"arm": ["single", "random"], "n": [701]}}))
    with pytest.raises(InputError, match=r"n: 701 rows asked for, but 06_mtl can choose from (700|6\d\d)"):
        checked(path)
    for primary, fits in (("word_class", True), ("topic_side", True), ("side_share", False)):
        blocks = {"notebooks": {"07_efficiency": {"sentence_test": True}}, "base": base | {"primary": primary}}
        path.write_text(yaml.safe_dump(study | blocks))
        if fits:
            assert checked(path)
        else:
            with pytest.raises(InputError, match=r"sentence_test: one row of 'side_share' has no pearson"):
                checked(path)


def test_comparisons_over_two_suites_read_the_runs_of_their_own(tmp_path, monkeypatch):
    """Suites are in no key: their tasks' names may be the same, and their rows are not."""
    monkeypatch.setenv("AUXLEARN_DATA", str(tmp_path))
    task = {"kind": "classification", "inputs": ["a"], "label": "y", "labels": ["n", "p"], "metric": "accuracy"}
    suites = []
    for which in ("one", "two"):
        for name in ("t", "u"):
            for split in ("train", "dev"):
                rows = [{"a": f"{which} {name} {split} {i}", "y": i % 2} for i in range(40)]
                write_jsonl(tmp_path / which / name / f"{split}.jsonl", rows)
        suites.append(str(tmp_path / f"{which}.yaml"))
        tasks = {name: task | {"source": {"folder": f"{which}/{name}"}} for name in ("t", "u")}
        (tmp_path / f"{which}.yaml").write_text(yaml.safe_dump({"name": which, "root": str(tmp_path), "tasks": tasks}))
    study = {
        "base": {
            "primary": "t",
            "size": "full",
            "encoder": "tiny",
            "device": "cpu",
            "precision": "fp32",
            "seeds": [0, 1],
        },
        "grid": {"suite": suites, "arm": ["single", "random"], "n": [10]},
    }
    for stages_ in (["07_efficiency"], ["06_mtl", "07_efficiency"]):
        cells = graph.load(written(tmp_path, stages=stages_, **study)).cells
        compared = [cell for cell in cells if cell.stage == "07_efficiency"]
        assert [cell.params.suite for cell in compared] == suites
        assert all({read.params.suite for read in cell.reads} == {cell.params.suite} for cell in compared)
        assert [cell.params.family for cell in compared] == [2, 2]

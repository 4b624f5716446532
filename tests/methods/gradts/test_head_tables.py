"""GradTS's store: made once, and correct tables."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy.stats import kendalltau

from asking import arm, everything
from auxlearn.data import suites as tasks
from auxlearn.data import usable_rows
from auxlearn.errors import InputError
from auxlearn.methods import task_plans
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.methods.gradts import correlation, head_store, head_tables
from auxlearn.models import multitask
from auxlearn.reporting.plots import head_figures
from auxlearn.signals import head_importance, pass_store
from auxlearn.studies.parameters import GradTS, TDProxy
from auxlearn.training import train, training_cache
from helpers import contrast

P = GradTS(tune_rows=24, importance_rows=10, epochs=1, seeds=[0, 1]).resolved()


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return tasks.Suite(small.name, short, f"{small.fingerprint}-100")


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("AUXLEARN_RUNS", str(tmp_path_factory.mktemp("heads")))
    yield head_tables.measure(P, small, usable_rows.usable(small, None))
    patch.undo()


def test_every_task_is_tuned_alone_on_its_own_usable_rows(small):
    usable = np.arange(80) % 4 > 0
    plan, rows = task_plans.task_tuning(P, small, "look_alike", 0, usable)
    (phase,) = plan.phases
    assert list(phase.rows) == ["look_alike"]
    assert (len(phase.rows["look_alike"]), len(rows)) == (24, 10)
    assert usable[phase.rows["look_alike"]].all()
    assert set(rows) <= set(phase.rows["look_alike"])
    everything = GradTS(tune_rows=0, importance_rows=0).resolved()
    plan, rows = task_plans.task_tuning(everything, small, "look_alike", 0, usable)
    assert len(plan.phases[0].rows["look_alike"]) == len(rows) == 60
    with pytest.raises(InputError, match="no usable training rows"):
        task_plans.task_tuning(P, small, "look_alike", 0, np.zeros(80, bool))


def test_one_pass_gives_all_definitions_and_is_made_once(small, monkeypatch):
    plan, rows = task_plans.task_tuning(P, small, "word_class", 0, np.ones(80, bool))
    training = training_cache.trained(plan, small)
    passes = []
    real = head_importance.over_rows
    monkeypatch.setattr(head_importance, "over_rows", lambda *a, **k: passes.append(1) or real(*a, **k))
    manifest, values = head_store.measured(training.manifest, plan, small, "word_class", rows)
    again, same = head_store.measured(training.manifest, plan, small, "word_class", rows)
    assert passes == [1]
    assert again.key == manifest.key
    assert set(values) == {"gate", "kv_rows", "kv_columns"}
    assert all(v.shape == (10, 2, 4) and np.array_equal(v, same[k]) for k, v in values.items())
    # The rows come back in the order asked for, whatever order the pass took them in.
    net = pass_store.load_model(training.manifest, plan, small)

    batch = multitask.collate([small["word_class"].train[int(rows[3])]], small["word_class"], net)
    alone = head_importance.head_importance(net, batch, "gate")[0].numpy()
    assert values["gate"][3] == pytest.approx(alone, rel=1e-3, abs=1e-7)
    (ledger,) = manifest.ledger
    assert (ledger["stage"], ledger["examples"], ledger["steps"]) == ("importance", 10, 0)
    assert ledger["flops"] > 0
    dropped, noisy = head_store.measured(training.manifest, plan, small, "word_class", rows, dropout=True)
    assert dropped.key != manifest.key
    assert not np.allclose(noisy["gate"], values["gate"])


def test_another_choice_of_candidates_costs_no_pass(small, made, monkeypatch):
    """04 does not depend on primary and auxiliaries: what was measured once serves every target and candidate set."""
    a = GradTS(primary="topic_name", auxiliaries=["look_alike"]).key_params()
    assert a == GradTS().key_params()
    monkeypatch.setenv("AUXLEARN_RUNS", str(made.manifests[0].folder.parents[1]))
    monkeypatch.setattr(train, "run", lambda *a: pytest.fail("trained again"))
    monkeypatch.setattr(head_importance, "over_rows", lambda *a, **k: pytest.fail("measured again"))
    again = head_tables.measure(P, small, usable_rows.usable(small, None))
    assert np.array_equal(again.matrices(0, "gate"), made.matrices(0, "gate"))


def test_the_tables_hold_tau_b(made):
    flat = made.matrices(1, "kv_rows").reshape(len(made.tasks), -1)
    table = head_tables.task_table(made, "kv_rows").set_index(["seed", "task", "other"])
    i, j = made.tasks.index("topic_side"), made.tasks.index("word_class")
    assert table.loc[(1, "topic_side", "word_class"), "tau"] == pytest.approx(kendalltau(flat[i], flat[j]).statistic)
    centred = flat - flat.mean(0)
    expected = kendalltau(centred[i], centred[j]).statistic
    assert table.loc[(1, "word_class", "topic_side"), "centred"] == pytest.approx(expected)
    rows = head_tables.row_table(made, "kv_rows")
    assert len(rows) == 2 * 8 * 10
    mine = rows[(rows["seed"] == 1) & (rows["task"] == "word_class")].reset_index(drop=True)
    assert mine["row"].tolist() == made.rows[1, "word_class"].tolist()
    one = correlation.normalise(made.importances[1, "word_class"]["kv_rows"])[4].reshape(-1)
    assert mine.loc[4, "topic_side"] == pytest.approx(kendalltau(one, flat[i]).statistic, abs=1e-6)


def test_ceilings_nulls_and_agreement_are_correlations(made):
    ceiling = head_tables.ceilings(made, "gate")
    assert list(ceiling.index) == made.tasks
    between = [made.matrices(seed, "gate")[0].reshape(-1) for seed in (0, 1)]
    assert ceiling.loc["topic_side", "seeds"] == pytest.approx(kendalltau(*between).statistic)
    drawn = head_tables.ceilings(made, "gate", drawn=True)
    assert drawn["seeds"].isna().all()
    assert drawn["halves"].equals(ceiling["halves"])
    null = head_tables.nulls(made, "gate", "topic_side", 99)
    assert "topic_side" not in null.index
    for each, marks in ((ceiling, 4), (drawn, 3)):
        (axis,) = head_figures.against_chance(null, each, "topic_side").axes
        assert len(axis.get_lines()) == marks
    assert ((null["p"] >= 0.01) & (null["p"] <= 1)).all()
    agreement = head_tables.agreement(made)
    assert np.allclose(np.diag(agreement), 1)
    assert np.allclose(agreement, agreement.T)


def test_two_tasks_have_a_tau_but_no_order(small, made):
    two = replace(made, tasks=["topic_side", "word_class"])
    assert len(head_tables.task_table(two, "gate")) == 2 * 2
    for table in (head_tables.agreement(two), head_tables.encoders({"tiny": two}, "gate")):
        assert table.isna().all(axis=None)
    assert list(head_tables.nulls(two, "gate", "topic_side", 9).index) == ["word_class"]
    table = head_tables.task_table(two, "gate")
    assert np.isnan(head_tables.planted_order(table, small, ["word_class"], "topic_side")["order"])


def test_every_tau_in_the_figure_can_be_read():
    values = np.linspace(-1, 1, 81).reshape(9, 9)
    rows = [
        {"task": i, "other": j, "tau": values[i, j], "centred": values[i, j] if i != j else np.nan}
        for i in range(9) for j in range(9)
    ]  # fmt: skip
    figure = head_figures.correlations(pd.DataFrame(rows), range(9))
    for axis, cells in zip(figure.axes, (81, 72), strict=True):
        assert len(axis.texts) == cells
        written = {text.get_position(): text for text in axis.texts}
        for i, back in enumerate(axis.collections[0].get_facecolors()):
            if (text := written.get((i % 9 + 0.5, i // 9 + 0.5))) is not None:
                assert contrast(to_hex(text.get_color()), to_hex(back)) >= 4.5, text.get_text()


def test_gradts_proxy_reads_each_row_at_the_proxy_that_has_not_seen_it(small, monkeypatch):
    given = TDProxy(proxy_rows=20, watch_rows=10, epochs=1).resolved()
    usable = usable_rows.usable(small, None)
    found, fold_of = proxy_plans.proxies(given, small, 3, usable)
    asked, real = [], head_store.measured

    def measured(training, plan, suite, name, rows, *rest):
        asked.append((plan, name, rows))
        return real(training, plan, suite, name, rows, *rest)

    monkeypatch.setattr(head_store, "measured", measured)
    p = GradTS(seeds=[3], importance_rows=12, at="proxy").resolved()
    made = head_tables.measure(p, small, usable, None, {3: (found, fold_of)})
    for plan, name, rows in asked:
        fold = next(i for i, other in enumerate(found) if other.phases[0].rows is plan.phases[0].rows or
                    all(np.array_equal(other.phases[0].rows[n], plan.phases[0].rows[n]) for n in small))  # fmt: skip
        assert (fold_of[name][rows] != fold).all()
        assert not np.isin(rows, plan.phases[0].rows[name]).any()
    assert all(len(made.rows[3, name]) == 12 for name in small)
    assert all((np.diff(made.rows[3, name]) > 0).all() for name in small)
    name, at = "look_alike", 5
    row = made.rows[3, name][at]
    fold = int(fold_of[name][row] == 0)  # the other half's proxy
    _, values = real(training_cache.trained(found[fold], small).manifest, found[fold], small, name, np.array([row]))
    assert np.allclose(made.importances[3, name]["gate"][at], values["gate"][0], rtol=1e-3)
    assert [ledger.stage for ledger in made.ledgers[3, name]] == ["importance"]
    assert GradTS(at="proxy", tune_rows=1).key_params() == GradTS(at="proxy", tune_rows=2).key_params()
    assert GradTS(tune_rows=1).key_params() != GradTS(tune_rows=2).key_params()
    assert arm("gradts_proxy").needs()[0][1]["at"] == "proxy"
    assert arm("gradts_thres").needs()[0][1]["at"] == "task"
    assert [stage for stage, _ in p.needs()] == ["02_td_proxy"]


def test_planted_questions_by_hand(small):
    names = ["topic_name", "topic_mixed", "away_topic"]
    helpful = np.array(small["topic_mixed"].train["helpful"][:])
    rows = np.arange(len(helpful))
    exact = np.where(helpful, 0.5, 0.1)
    parts = [
        pd.DataFrame({"seed": 0, "task": "topic_mixed", "row": rows, "topic_side": exact}),
        pd.DataFrame({"seed": 1, "task": "topic_mixed", "row": rows, "topic_side": -exact}),
        pd.DataFrame({"seed": 0, "task": "topic_name", "row": [0, 1], "topic_side": [0.2, 0.4]}),
        pd.DataFrame({"seed": 0, "task": "away_topic", "row": [0, 1], "topic_side": [0.0, 0.2]}),
    ]
    made = head_tables.planted_rows(pd.concat(parts), small, names, "topic_side")
    assert made.loc["topic_mixed", "auc"] == 0.5  # 1 for one seed, 0 for the other
    assert made.loc["topic_mixed", "low"] < 0 < 1 < made.loc["topic_mixed", "high"]
    assert made.loc["topic_name", "helpful rows"] == pytest.approx(0.3)
    assert np.isnan(made.loc["topic_name", "other rows"])
    assert np.isnan(made.loc["away_topic", "auc"])
    taus = {0: (0.9, 0.5, 0.1), 1: (0.9, 0.1, 0.5)}
    table = pd.DataFrame([
        {"seed": seed, "task": "topic_side", "other": name, "tau": tau}
        for seed, values in taus.items() for name, tau in zip(names, values, strict=True)
    ])  # fmt: skip
    order = head_tables.planted_order(table, small, names, "topic_side")
    assert order["order"] == pytest.approx((1 + 1 / 3) / 2)
    assert order["low"] < order["order"] < order["high"]


def test_encoders_are_compared_by_the_order_of_their_tasks(small, made):
    p = GradTS(seeds=[0, 1], tune_rows=20, importance_rows=10, epochs=1, encoder="tiny:1", size="full").resolved()
    cut = head_tables.measure(p, small, everything(small))
    assert cut.importances[0, "look_alike"]["gate"].shape == (10, 1, 4)
    between = head_tables.encoders({"tiny": made, "tiny:1": cut}, "gate")
    assert np.allclose(np.diag(between), 1)
    upper = np.triu_indices(len(small), 1)
    taus = [
        kendalltau(*(correlation.task_taus(m.matrices(s, "gate"))[upper] for m in (made, cut))).statistic
        for s in (0, 1)
    ]
    assert between.loc["tiny", "tiny:1"] == pytest.approx(np.mean(taus))


def test_a_constant_matrix_has_no_tau(made):
    flat = head_tables.Heads(made.tasks, [0], dict(made.importances), made.rows)
    name = "word_class"
    flat.importances[0, name] = {d: np.full_like(v, 0.5) for d, v in made.importances[0, name].items()}
    table = head_tables.task_table(flat, "gate")
    with_it = (table["task"] == name) | (table["other"] == name)
    assert table.loc[with_it, "tau"].isna().all()
    assert table.loc[~with_it, "tau"].notna().all()
    rows = head_tables.row_table(flat, "gate")
    assert rows.loc[rows["task"] == name, "topic_side"].isna().all()


def test_a_store_of_other_code_or_another_model_is_not_read(small, monkeypatch):
    rows = np.arange(8)
    plan, _ = task_plans.task_tuning(P, small, "word_class", 0, np.ones(80, bool))
    training = training_cache.trained(plan, small)
    first, _ = head_store.measured(training.manifest, plan, small, "word_class", rows)
    other, _ = task_plans.task_tuning(P.model_copy(update={"epochs": 2}), small, "word_class", 0, np.ones(80, bool))
    second, _ = head_store.measured(training_cache.trained(other, small).manifest, other, small, "word_class", rows)
    assert second.key != first.key
    record = json.loads(first.path("manifest.json").read_text())
    record["code"]["hash"] = "of other code"
    first.path("manifest.json").write_text(json.dumps(record))
    passes, real = [], head_importance.over_rows
    monkeypatch.setattr(head_importance, "over_rows", lambda *a, **k: passes.append(1) or real(*a, **k))
    again, _ = head_store.measured(training.manifest, plan, small, "word_class", rows)
    assert passes == [1]
    assert again.code["hash"] != "of other code"

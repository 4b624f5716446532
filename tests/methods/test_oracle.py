"""Arms that tell what a task, a set of tasks or a part of a ranking is worth: the rows they train, and their cost."""

import itertools
from dataclasses import replace

import pytest
import yaml

from asking import arm, everything, selected
from auxlearn.data import auxiliary_rows
from auxlearn.errors import InputError
from auxlearn.methods import context, oracle, ranking, registry
from auxlearn.methods.fastmtl.options import Ranking, TDProxy
from auxlearn.studies import graph

NAMES = ["look_alike", "away_topic", "side_share"]


def places(rows):
    return list(zip(rows["task"], rows["row"], strict=True))


# --- one auxiliary alone -----------------------------------------------------------------------------------------


def test_only_draws_n_rows_of_the_task_that_is_named(small):
    made = {
        seed: selected(arm("only", n=30, methods={"only": {"task": "look_alike"}}), small, seed)[0] for seed in (0, 1)
    }
    for each in made.values():
        assert (each.rows["task"].unique().tolist(), len(each.rows), each.tasks) == (
            ["look_alike"],
            30,
            ("look_alike",),
        )
        assert each.rows["row"].is_unique
    assert made[0].rows["row"].tolist() != made[1].rows["row"].tolist()
    first = selected(arm("only", n=500), small, 0)[0]  # of no task in particular: all rows of the first auxiliary
    assert (first.rows["task"].unique().tolist(), len(first.rows)) == (["topic_name"], 80)


def test_only_refuses_a_task_that_is_no_auxiliary_before_anything_runs(tmp_path, small):
    given = arm("only", n=30, methods={"only": {"task": "look_alikes"}})
    with pytest.raises(InputError, match="'look_alikes' is no auxiliary; did you mean 'look_alike'"):
        selected(given, small, 0)
    file = tmp_path / "study.yaml"
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "seeds": [0]}
    study = {"study": "s", "base": base, "stages": ["06_mtl"], "grid": {"arm": ["single", "only"], "n": [30]}}
    for task, fits in (("topic_side", False), ("look_alike", True)):
        tasks = {"methods.only.task": [task, "away_topic"]}
        file.write_text(yaml.safe_dump(study | {"grid": study["grid"] | tasks}))
        if fits:
            stages = [(p.arm, p.key_params()["methods"].get("only")) for _, p in graph.validated(file)]
            assert stages == [("single", None), ("only", {"task": "look_alike"}), ("only", {"task": "away_topic"})]
        else:
            with pytest.raises(InputError, match="'topic_side' is no auxiliary"):
                graph.validated(file)


def test_only_draws_of_a_set_of_tasks_what_other_methods_draw_of_it(small):
    """In whatever order it names them: the same rows, and so the same training."""
    both = selected(arm("only", n=30, methods={"only": {"task": "look_alike+topic_name"}}), small, 0)[0]
    assert both.tasks == ("topic_name", "look_alike")
    usable = everything(small)
    pool = auxiliary_rows.pool(small, [name for name in small.names if name != "topic_side"], usable)
    wanted = ranking.draw(pool.drop(columns="usable"), both.tasks, 30, 0)
    drawn = selected(arm("only", n=30, methods={"only": {"task": "topic_name+look_alike"}}), small, 0, usable)[0].rows
    assert places(drawn) == places(wanted)
    assert set(drawn["task"]) == {"topic_name", "look_alike"}
    for task, words in (("topic_name+look_alik", "'look_alik' is no auxiliary; did you mean"),
                        ("topic_name+topic_name", "names a task twice")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            selected(arm("only", n=30, methods={"only": {"task": task}}), small, 0)
    assert oracle.members("a+b", ["a+b", "a", "b"]) == ("a+b",)  # a task may be called so


# --- parts of a ranking ------------------------------------------------------------------------------------------


def decile(suite, of, part, parts, **given):
    p = arm("decile", methods={"decile": {"of": of, "part": part, "parts": parts}} | given, auxiliaries=NAMES)
    return selected(p, suite, 0, everything(suite))


def test_the_parts_of_a_ranking_are_all_its_rows_in_its_order(small):
    """Whatever n: 240 rows in parts of 35, 35, 34, ... as the method ranks them when it takes all."""
    dsir = {"dsir": {"resample": False}}
    parts = [decile(small, "dsir", k, 7, **dsir)[0].rows for k in range(1, 8)]
    assert [len(rows) for rows in parts] == [35, 35, 34, 34, 34, 34, 34]
    ranked = selected(arm("dsir", n=240, methods=dsir, auxiliaries=NAMES), small, 0, everything(small))[0].rows
    assert [place for rows in parts for place in places(rows)] == places(ranked)
    assert all(a["score"].min() >= b["score"].max() for a, b in itertools.pairwise(parts))
    with pytest.raises(InputError, match="240 rows are fewer than 300 parts"):
        decile(small, "dsir", 1, 300, **dsir)


def test_a_ranking_is_cut_as_the_run_of_03_that_is_read_ranks(small):
    """Of whatever n that run is: by the sigmoid rows are ordered otherwise than by the margin."""
    ranked = TDProxy(seeds=[0]).resolved(), Ranking(score="margin", n=20, auxiliaries=NAMES, seeds=[0]).resolved()
    p = arm("decile", methods={"decile": {"of": "td_bce", "part": 1, "parts": 4}}, auxiliaries=NAMES)
    for upstream, score in ((ranked, "margin"), ((), "auto")):
        asked = context.Context(small, p, 0, upstream)
        need = registry.get("td_bce").needs(asked.cell, registry.options(registry.get("td_bce"), {}))[0]
        wanted = replace(need, parameters=dict(need.parameters) | {"n": 240})
        assert (asked.parameters(wanted).score, asked.parameters(wanted).n) == (score, 240)


def test_a_part_that_there_is_not_and_a_method_that_ranks_nothing_are_refused():
    for given, words in (
        ({"part": 11}, "part: 11 of 10 parts; the last is 10"),
        ({"of": "random"}, "of: 'random' gives rows no scores"),
        ({"of": "gradts_fg"}, "as it is set trains in order to choose, or takes other rows first"),
        ({"of": "quota_bce"}, "or takes other rows first where it may take more; name a ranking"),
        ({"of": "loss"}, "or give it the rule top_mean"),
        ({"of": "tawt_joint"}, "of: 'tawt_joint' gives rows no scores"),
        ({"of": "td_bec"}, "did you mean 'td_bce'"),
    ):
        with pytest.raises((ValueError, InputError), match=words):
            arm("decile", methods={"decile": given})


def test_a_part_is_charged_for_the_ranking_it_is_cut_from(small):
    """Of a model's scores, as often as the ranking itself: once."""
    own = selected(arm("td_bce", n=60, auxiliaries=NAMES), small, 0)[1]
    chosen, asked = decile(small, "td_bce", 2, 4)
    keys = [arm("decile", n=n, methods={"decile": {"of": "dsir"}, "dsir": {"resample": r}}).key_params()
            for n, r in ((20, True), (30, True), (20, False))]  # fmt: skip
    assert keys[0] == keys[1] != keys[2]  # whatever n is, and not whatever the ranking's options are
    assert [ledger.flops for ledger in asked.needed()] == [ledger.flops for ledger in own.needed()]
    assert len(chosen.rows) == 60
    assert asked.candidates("decile")[1].sum() == 240

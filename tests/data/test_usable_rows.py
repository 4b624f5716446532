"""Filters: which training rows may be used for a target, found once a suite."""

import numpy as np
import pytest
import yaml

from auxlearn.data import auxiliary_rows, leakage, suites, usable_rows
from auxlearn.errors import InputError
from auxlearn.records import code_hash, run_search
from helpers import write_jsonl

TEXT = "{0} text number {1} is about {0} and about nothing else"
ONE = {"kind": "classification", "inputs": ["a"], "label": "y", "labels": ["n", "p"], "metric": "accuracy"}


@pytest.fixture(autouse=True, scope="module")
def leaks_once():
    """The search itself, each time."""


@pytest.fixture
def suite(tmp_path):
    """Two tasks of ten training rows: rows 1 and 2 of `pool` stand in `target`'s dev and test, row 3 in its own dev.

    Row 4 of `target` stands in its own dev.
    """
    train = {name: [TEXT.format(name, i) for i in range(10)] for name in ("target", "pool")}
    judged = {
        ("target", "dev"): [train["pool"][1], train["target"][4]],
        ("target", "test"): [train["pool"][2].upper()],
        ("pool", "dev"): [train["pool"][3]],
    }
    for name, texts in train.items():
        write_jsonl(tmp_path / name / "train.jsonl", [{"a": text, "y": i % 2} for i, text in enumerate(texts)])
    for (name, split), texts in judged.items():
        write_jsonl(tmp_path / name / f"{split}.jsonl", [{"a": text, "y": 0} for text in texts])
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "tasks": {n: ONE | {"source": {"folder": n}} for n in train}}))
    return suites.Suite.from_yaml(path)


def out(masks):
    return {name: np.flatnonzero(~mask).tolist() for name, mask in masks.items()}


def test_rows_of_the_target_s_dev_and_test_are_out_and_of_any_task_s_where_none_is_named(suite):
    assert out(usable_rows.usable(suite, "target")) == {"target": [4], "pool": [1, 2]}
    assert out(usable_rows.usable(suite, "pool")) == {"target": [], "pool": [3]}
    assert out(usable_rows.usable(suite, None)) == {"target": [4], "pool": [1, 2, 3]}
    assert {name: len(mask) for name, mask in usable_rows.usable(suite, None).items()} == {"target": 10, "pool": 10}


def test_kept_leaks_are_not_even_looked_for(suite, monkeypatch):
    monkeypatch.setattr(leakage, "find", lambda *a, **k: pytest.fail("looked for leaks"))
    for target in ("target", None):
        assert out(usable_rows.usable(suite, target, keep_leaks=True)) == {"target": [], "pool": []}


def test_leaks_are_found_once_a_suite(suite, monkeypatch, runs_folder):
    real, calls = leakage.find, []
    monkeypatch.setattr(leakage, "find", lambda suite, **k: calls.append(k) or real(suite, **k))
    first = usable_rows.hits(suite)
    assert usable_rows.hits(suite).equals(first)
    usable_rows.usable(suite, "pool")
    usable_rows.usable(suite, None)
    assert calls == [{"near": usable_rows.NEAR}]
    usable_rows.hits(suite.capped(9))  # other rows: another suite
    assert len(calls) == 2
    (folder,) = (m.folder for m in run_search.all_runs("leaks") if m.suite == suite.fingerprint)
    (folder / "hits.parquet").write_bytes(b"damaged")
    assert usable_rows.hits(suite).equals(first)
    assert len(calls) == 3


def test_leaks_are_found_anew_by_other_code(suite, monkeypatch):
    usable_rows.hits(suite)
    monkeypatch.setattr(code_hash, "code_hash", lambda *a: "changed")
    monkeypatch.setattr(leakage, "find", lambda *a, **k: pytest.fail("looked for leaks"))
    with pytest.raises(pytest.fail.Exception, match="looked for leaks"):
        usable_rows.hits(suite)


def test_another_threshold_is_another_search(suite, monkeypatch):
    usable_rows.hits(suite)
    monkeypatch.setattr(usable_rows, "NEAR", 0.9)
    monkeypatch.setattr(leakage, "find", lambda suite, near: pytest.fail(f"looked for leaks from {near}"))
    with pytest.raises(pytest.fail.Exception, match=r"looked for leaks from 0\.9"):
        usable_rows.hits(suite)


def test_a_suite_of_one_task_has_an_empty_pool(suite):
    one = suites.Suite("one", {"target": suite["target"]}, "one")
    pool = auxiliary_rows.pool(one, [], usable_rows.usable(one, "target"))
    assert pool.empty
    assert pool.columns.tolist() == ["task", "row", "row_id", "usable"]
    assert auxiliary_rows.pool_size(one, [], {}) == 0
    with pytest.raises(
        InputError, match=r"another task beside the primary 'target', and suite 'one' gives none; add a task"
    ):
        auxiliary_rows.required(one, "target")
    assert auxiliary_rows.required(suite, "target") == ["pool"]

"""Rows and tokens that forecasts are counted over: told by a study file, or measured."""

from types import SimpleNamespace

import numpy as np
import pytest

import encoder_kinds
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.models import multitask
from auxlearn.studies import sizing
from auxlearn.studies.parameters import MTL
from auxlearn.studies.study_file import Expects
from auxlearn.training import counting
from helpers import with_long_sentences

pytestmark = pytest.mark.usefixtures("planted_once")
SMALL = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}


def params(**given):
    return MTL(**{"size": "full", "precision": "fp32"} | given)


def plain(lengths):
    return {
        (name, split): (tokens.lengths.tolist(), None if tokens.rows is None else tokens.rows.tolist())
        for name, splits in lengths.items() for split, tokens in splits.items()
    }  # fmt: skip


@pytest.mark.parametrize("mean", [1, 7, 12.5, 31.3, 127.9])
def test_told_rows_are_as_long_as_their_mean(mean):
    sizes = sizing.given_sizes({"a": 1000, "b": 3}, {"a": mean, "b": 10}, SMALL, "as told")
    own = sizes.lengths["a"]["train"].lengths
    assert sizes.rows == {"a": 1000, "b": 3}
    assert own.mean() == pytest.approx(mean, abs=0.001)
    assert set(own) <= {int(mean), int(mean) + 1}
    assert abs(own[:100].mean() - mean) < 0.02  # any part of them too
    assert sizes.lengths["b"]["train"].lengths.tolist() == [10, 10, 10]
    assert all(len(splits["dev"]) == 0 for splits in sizes.lengths.values())
    assert (sizes.encoder, sizes.source) == (SMALL, "as told")
    assert [len(task.train) for task in sizes.suite.values()] == [1000, 3]
    assert plain(sizing.given_sizes({"a": 5}, 4, SMALL, "").lengths)["a", "train"] == ([4] * 5, None)


def test_measured_lengths_are_those_that_training_has(planted, monkeypatch):
    sizes = sizing.measured(params(rows=60))
    small = planted.capped(60)
    net = multitask.build("tiny", small)
    assert plain(sizes.lengths) == plain(counting.tokens(small, net.tokenizer, 128))
    assert sizes.rows == dict.fromkeys(planted.names, 60)
    assert sizes.encoder.hidden_size == net.encoder.config.hidden_size
    mean = sizes.lengths["topic_side"]["train"].lengths.mean()
    assert f"rows of planted; mean tokens by tiny, measured: topic_side {mean:.0f}" in sizes.source
    assert sizes.lengths["topic_side"]["dev"].n_rows == len(planted["topic_side"].dev)
    monkeypatch.setattr(sizing, "SAMPLED", 10)
    short = sizing.measured(params(rows=60, max_length=10))
    assert max(splits["train"].lengths.max() for splits in short.lengths.values()) == 10


def test_a_sample_stands_for_many_rows(planted, monkeypatch):
    whole = sizing.measured(params(rows=200))
    monkeypatch.setattr(sizing, "SAMPLED", 70)
    some = sizing.measured(params(rows=200))
    assert some.rows == whole.rows
    for name, splits in whole.lengths.items():
        for split, tokens in splits.items():
            sampled = some.lengths[name][split]
            assert sampled.n_rows == tokens.n_rows
            if tokens.n_rows > 70:
                assert sampled.lengths[:70].tolist() == sampled.lengths[70:140].tolist()
            assert sampled.lengths.mean() == pytest.approx(tokens.lengths.mean(), rel=0.1)
    again = sizing.measured(params(rows=200))
    assert plain(again.lengths) == plain(some.lengths)


def test_rows_that_are_split_are_sampled_whole(small, monkeypatch):
    suite = with_long_sentences(small)
    monkeypatch.setattr(suites, "load", lambda *_: suite)
    whole = sizing.measured(params(max_length=18))
    monkeypatch.setattr(sizing, "SAMPLED", 30)
    some = sizing.measured(params(max_length=18))
    assert some.rows == whole.rows
    tagged = some.lengths["word_class"]["train"]
    assert tagged.rows is not None
    assert len(tagged) > tagged.n_rows == 80
    assert tagged.take(np.arange(30)).lengths.tolist() == tagged.take(np.arange(30, 60)).lengths.tolist()


def test_an_encoder_needs_no_weights_to_be_measured(small, tmp_path, monkeypatch):
    encoder_kinds.built("modernbert", small, tmp_path)
    (tmp_path / "modernbert" / "model.safetensors").unlink()
    monkeypatch.setattr(suites, "load", lambda *_: small)
    sizes = sizing.measured(params(encoder=f"{tmp_path / 'modernbert'}:2"))
    assert (sizes.encoder.model_type, sizes.encoder.num_hidden_layers) == ("modernbert", 2)
    assert sizes.rows == {name: len(task.train) for name, task in small.items()}


@pytest.mark.parametrize(
    ("given", "message"),
    [({"suite": "params/suites/nowhere.yaml"}, "nowhere.yaml"), ({"encoder": "nowhere/at-all"}, "nowhere/at-all")],
)
def test_what_is_not_at_hand_is_to_be_told(given, message):
    with pytest.raises(InputError, match=f"{message}.*To price a study without .* say under `expects` what they hold"):
        sizing.measured(params(rows=60, **given))


def test_sizes_are_found_once_for_all_cells_alike(monkeypatch):
    asked = []
    monkeypatch.setattr(sizing, "measured", lambda p: asked.append((p.rows, p.encoder)) or object())
    sizer = sizing.Sizer(SimpleNamespace(expects=None))
    first = sizer.of(params(rows=60, arm="random"))
    assert sizer.of(params(rows=60, arm="single", primary="word_class", lr=0.1)) is first
    assert sizer.of(params(rows=70)) is not first
    assert sizer.of(params(rows=60, encoder="tiny:1")) is not first
    assert sizer.of(params(rows=60, max_length=64)) is not first
    assert len(asked) == 4


def test_a_file_that_expects_is_believed_and_capped(monkeypatch):
    monkeypatch.setattr(sizing, "measured", lambda p: pytest.fail("read the suite"))
    expects = Expects(rows={"a": 1000, "b": 30}, tokens={"a": 5, "b": 6}, encoder=SMALL)
    sizer = sizing.Sizer(SimpleNamespace(expects=expects))
    whole, few = sizer.of(params(rows=0, encoder="bert")), sizer.of(params(rows=100, encoder="bert"))
    assert (whole.rows, few.rows) == ({"a": 1000, "b": 30}, {"a": 100, "b": 30})
    assert set(whole.lengths["a"]["train"].lengths) == {5}
    assert whole.encoder == expects.encoder
    assert "as the file's `expects` has them" in whole.source
    with pytest.raises(InputError, match="expects describes one encoder, but the study has bert and tiny"):
        sizer.of(params(rows=0, encoder="tiny"))

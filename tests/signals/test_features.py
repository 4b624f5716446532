"""Surface cues of known sentences, the baseline built on them, t-SNE coordinates, and the figures' elements."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from matplotlib import pyplot as plt

from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite
from auxlearn.evaluation import metrics
from auxlearn.reporting.plots import feature_figures, figures
from auxlearn.signals import feature_map, features


def task(name, *inputs, kind="classification", rows=()):
    return SimpleNamespace(name=name, kind=kind, inputs=inputs, train=Dataset.from_list(list(rows)))


ONE, PAIR = task("one", "text"), task("pair", "a", "b")


def cues(text):
    """The cues of one text as plain numbers, without the suffix."""
    row = features.surface([{"text": text}], ONE).iloc[0]
    return SimpleNamespace(**{cue: float(row[f"{cue}_1"]) for cue in features.CUES}, texts=float(row["texts"]))


# --- surface -----------------------------------------------------------------------------------------------------


def test_surface_of_a_known_sentence():
    """ "Is it 42, Bob?": 14 characters, 4 words, letters IsitBob with I and B upper, 2 digits, 2 punctuation marks."""
    c = cues("Is it 42, Bob?")
    assert (c.texts, c.chars, c.words) == (1, 14, 4)
    assert c.upper == pytest.approx(2 / 7)
    assert c.digits == pytest.approx(2 / 14)
    assert c.punctuation == pytest.approx(2 / 14)
    assert (c.first_upper, c.question, c.ends_question) == (1, 1, 1)
    assert (c.ends_period, c.ends_exclamation, c.spaced, c.quotes) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "cue", "value"),
    [
        ("the film , sadly", "spaced", 1),
        ("the film, sadly", "spaced", 0),
        ('he said "go" now', "spaced", 0),  # an opening quote may follow a space
        ("why? because", "question", 1),
        ("why? because", "ends_question", 0),
        ("stop!", "ends_exclamation", 1),
        ("end. \n", "ends_period", 1),  # trailing white space is not seen
        ("end", "ends_period", 0),
        ("2 Dogs", "first_upper", 1),
        ("2 dogs Run", "first_upper", 0),
        ("123", "first_upper", 0),
        ("123", "upper", 0),
        ("he said “go”", "quotes", 1),
        ("it's", "quotes", 0),
        ("naïve Ünïon", "upper", 0.1),
        ("  two\twords ", "words", 2),
        ("日本 語", "words", 2),
        ("日本 語", "upper", 0),
        ("", "chars", 0),
        ("", "ends_period", 0),
    ],
)
def test_one_cue(text, cue, value):
    assert getattr(cues(text), cue) == pytest.approx(value)


def test_texts_do_not_leak_into_one_another():
    """A text that starts with a closing mark is not spaced by the end of the one before it."""
    table = features.surface([{"text": "One."}, {"text": ". two"}, {"text": ""}, {"text": "x !"}], ONE)
    assert table["spaced_1"].tolist() == [0, 0, 0, 1]
    assert table["words_1"].tolist() == [1, 2, 0, 2]
    assert table["chars_1"].tolist() == [4, 5, 0, 3]


def test_pair_and_single_have_the_same_columns():
    pair = features.surface([{"a": "Four.", "b": "Ten chars?"}], PAIR)
    single = features.surface([{"text": "Four."}], ONE)
    assert list(pair) == list(single) == list(features.COLUMNS)
    assert (pair.dtypes == np.float32).all()
    assert (pair.loc[0, "texts"], pair.loc[0, "ratio"], pair.loc[0, "words_2"]) == (2, 2.0, 2)
    assert pair.loc[0, "ends_question_2"] == 1
    assert single.loc[0, [c for c in single if c.endswith("_2")]].eq(0).all()
    assert single.loc[0, "ratio"] == 0


def test_tagging_rows_are_joined_and_datasets_read_as_lists():
    tagged = task("ner", "tokens", kind="tagging")
    row = {"tokens": ["Rome", ",", "Italy", "."]}
    direct = features.surface([row], tagged)
    assert (direct.loc[0, "chars_1"], direct.loc[0, "words_1"], direct.loc[0, "spaced_1"]) == (14, 4, 1)
    pd.testing.assert_frame_equal(direct, features.surface(Dataset.from_list([row]), tagged))


def test_no_rows_give_no_rows():
    assert features.surface([], PAIR).shape == (0, len(features.COLUMNS))


def test_missing_input_is_named():
    with pytest.raises(KeyError, match="b"):
        features.surface([{"a": "x"}], PAIR)


# --- baseline ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite():
    """Four tasks: two of the same format by construction, one of pairs, one that ends with question marks."""
    rng = np.random.default_rng(0)

    def text(end="."):
        return " ".join(rng.choice(["red", "green", "blue", "grey"], rng.integers(3, 9))).capitalize() + end

    tasks = {
        "twin_a": task("twin_a", "t", rows=[{"t": text()} for _ in range(400)]),
        "twin_b": task("twin_b", "t", rows=[{"t": text()} for _ in range(400)]),
        "pairs": task("pairs", "a", "b", rows=[{"a": text(), "b": text()} for _ in range(400)]),
        "asks": task("asks", "t", rows=[{"t": text("?")} for _ in range(400)]),
    }
    return Suite("formats", tasks, "none")


def pool(suite, names, first=100):
    frames = [pd.DataFrame({"task": n, "row": np.arange(first, len(suite[n].train))}) for n in names]
    return pd.concat(frames, ignore_index=True)


def test_form_tells_pairs_and_questions_apart_and_twins_not(suite):
    rows = pool(suite, suite.names)
    logits = features.surface_logits(suite, {n: np.arange(100) for n in suite.names}, rows)
    assert logits.shape == (1200, 4)
    assert logits.dtype == np.float32
    assert np.exp(logits.astype(float)).sum(1) == pytest.approx(np.ones(1200), abs=1e-5)
    ids = rows["task"].map(suite.index).to_numpy()
    auc = dict(zip(suite.names, metrics.column_auc(logits, ids), strict=True))
    assert (auc["pairs"], auc["asks"]) == pytest.approx((1.0, 1.0), abs=1e-9)
    twins = ids < 2
    between = metrics.column_auc(logits[twins][:, :2], ids[twins])
    assert np.abs(between - 0.5).max() < 0.08  # 300 against 300 rows: standard error of a chance AUC is 0.024


def test_two_tasks_and_the_order_of_rows(suite):
    """Two trained tasks give columns in the suite's order; shuffled rows give shuffled logits; others get ABSENT."""
    rows = pool(suite, ["pairs", "twin_b", "asks"], first=390)
    sample = {"pairs": np.arange(50), "twin_b": np.arange(50)}
    logits = features.surface_logits(suite, sample, rows)
    assert (logits[:, [0, 3]] == features.ABSENT).all()
    assert (logits[:10].argmax(1) == 2).all()  # pairs
    assert (logits[10:].argmax(1) == 1).all()  # single texts
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_array_equal(features.surface_logits(suite, sample, rows.iloc[order]), logits[order])
    ids = rows["task"].map(suite.index).to_numpy()
    assert metrics.column_auc(logits, ids)[3] == 0.5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rows_are_read_in_chunks_which_change_nothing(suite, monkeypatch):
    rows = features.as_rows({name: np.arange(len(task.train))[::-1] for name, task in suite.items()})
    whole, real, sizes = features.design(suite, rows), features.surface, []
    monkeypatch.setattr(features, "CHUNK", 7)
    monkeypatch.setattr(features, "surface", lambda part, task: sizes.append(len(part)) or real(part, task))
    assert np.array_equal(features.design(suite, rows), whole)
    assert (max(sizes), sum(sizes)) == (7, len(rows))


def test_a_fit_counts_its_iterations_forward_and_back_and_predicts_once(suite, monkeypatch):
    """One iteration over 3 tasks' 20 rows, of 4 FLOPs a cue and task, and 6 rows asked for, of 2."""
    monkeypatch.setattr(features, "MAX_ITER", 1)
    ledger, sample = Ledger("form"), {name: np.arange(20) for name in ("twin_a", "pairs", "asks")}
    features.surface_logits(suite, sample, pool(suite, ["pairs", "twin_b"], first=397), ledger)
    assert ledger.flops == 3 * (4 * 60 * 26 + 2 * 6 * 26)


def test_bad_samples_are_named(suite):
    rows = pool(suite, ["pairs"], first=390)
    with pytest.raises(ValueError, match="two or more tasks"):
        features.surface_logits(suite, {"pairs": np.arange(5), "asks": np.arange(0)}, rows)
    with pytest.raises(ValueError, match=r"'asks'.*outside"):
        features.surface_logits(suite, {"pairs": np.arange(5), "asks": np.array([400])}, rows)
    with pytest.raises(ValueError, match="nobody"):
        features.surface_logits(suite, {"pairs": np.arange(5), "nobody": np.arange(5)}, rows)


# --- t-SNE -------------------------------------------------------------------------------------------------------


def test_subsample_is_uniform_a_task_and_keeps_small_tasks():
    rows = pd.DataFrame({"task": ["big"] * 1000 + ["small"] * 5})
    chosen = feature_map.subsample(rows, 50, seed=0)
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()
    assert (chosen < 1000).sum() == 50
    assert chosen[chosen >= 1000].tolist() == [1000, 1001, 1002, 1003, 1004]
    assert chosen[49] > 500  # not the first rows
    np.testing.assert_array_equal(chosen, feature_map.subsample(rows, 50, seed=0))
    assert not np.array_equal(chosen, feature_map.subsample(rows, 50, seed=1))
    # A task's draw does not change with the tasks around it.
    np.testing.assert_array_equal(chosen[:50], feature_map.subsample(rows.iloc[:1000], 50, seed=0))
    with pytest.raises(ValueError, match="per_task"):
        feature_map.subsample(rows, 0, seed=0)


def test_tsne_keeps_clusters_and_repeats():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 80))
    x[30:, 0] += 40
    points = feature_map.tsne(x, seed=3)
    assert points.shape == (60, 2)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, feature_map.tsne(x, seed=3))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert ((distance.argmin(1) >= 30) == (np.arange(60) >= 30)).all()  # every nearest neighbour is of its own cluster


def test_tsne_of_few_points_and_of_bad_ones():
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert np.isfinite(feature_map.tsne(x, seed=0)).all()  # perplexity 30 would not fit
    with pytest.raises(ValueError, match="shape"):
        feature_map.tsne(x[:4], seed=0)
    with pytest.raises(ValueError, match="equal"):
        feature_map.tsne(np.ones((6, 3)), seed=0)
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 rows hold NaN"):
        feature_map.tsne(x, seed=0)


# --- figures -----------------------------------------------------------------------------------------------------


def test_tsne_figure_shows_every_point_and_the_primary_on_top():
    names = [f"t{i}" for i in range(12)]
    points = pd.DataFrame({"x": np.arange(24.0), "y": np.arange(24.0), "task": names * 2})
    figure = feature_figures.tsne(points, points.iloc[:12], "t7", ("before", "after"))
    left, right = figure.axes
    for axis, n in ((left, 24), (right, 12)):
        assert sum(len(c.get_offsets()) for c in axis.collections) == n
        top = max(axis.collections, key=lambda c: c.zorder)
        assert sorted(top.get_offsets()[:, 0].tolist()) == [7.0, 19.0][: n // 12]
    legend = figure.legends[0].get_texts()
    assert [t.get_text() for t in legend] == ["t7", *[n for n in names if n != "t7"]]
    marks = figures.task_marks(names, "t7")
    assert len(set(marks.values())) == 12
    plt.close(figure)


def test_auc_figure_prints_the_numbers():
    table = pd.DataFrame({"discriminator": [0.9, 0.75], "surface": [0.6134, np.nan]}, index=["a", "b"])
    figure = feature_figures.auc_beside(table)
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert texts == ["0.900", "0.750", "discr.", "0.613", "–", "surface"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]
    plt.close(figure)

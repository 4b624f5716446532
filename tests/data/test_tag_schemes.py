"""Spans come back as they were marked, in every scheme; what is scored is what seqeval says of that scheme."""

import warnings

import numpy as np
import pytest
import yaml
from seqeval import scheme as schemes
from seqeval.metrics import f1_score

from auxlearn.data import suite_files, tag_schemes
from auxlearn.errors import InputError
from auxlearn.evaluation import metrics

TYPES = ("PER", "work-of-art")


def marked(spans, length, scheme):
    """Mark spans (type, first, last) in a scheme of tags, as its definition says."""
    tags = ["O"] * length
    ends, starts = {(kind, last) for kind, _, last in spans}, {(kind, first) for kind, first, _ in spans}
    for kind, first, last in spans:
        letters = ["I"] * (last - first + 1)
        if scheme in ("IOB2", "BIOES", "BILOU", "BMES", "BIOS") or ((kind, first - 1) in ends and scheme == "IOB1"):
            letters[0] = "B"
        if scheme in ("IOE2", "BIOES", "BILOU", "BMES") or ((kind, last + 1) in starts and scheme == "IOE1"):
            letters[-1] = "E"
        if scheme in ("BIOES", "BILOU", "BMES", "BIOS") and first == last:
            letters[0] = "S"
        if scheme in ("BILOU", "BMES"):
            names = {"E": "L", "S": "U"} if scheme == "BILOU" else {"I": "M"}
            letters = [names.get(letter, letter) for letter in letters]
        tags[first : last + 1] = [f"{letter}-{kind}" for letter in letters]
    return tags


def sentences(seed, n=60):
    """Sentences of spans, many of them touching."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        spans, at, length = set(), 0, 12
        while at < length:
            last = min(at + int(rng.integers(1, 4)), length) - 1
            if rng.random() < 0.6:
                spans.add((TYPES[rng.integers(2)], at, last))
            at = last + 1
        yield spans, length


LETTERS = {"IOB1": "BI", "IOB2": "BI", "IOE1": "IE", "IOE2": "IE", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES",
           "BIOS": "BIS"}  # fmt: skip
FORMS = {
    "B-PER": lambda tag: tag,
    "PER-B": lambda tag: tag if tag == "O" else f"{tag[2:]}-{tag[0]}",
    "B_PER": lambda tag: tag.replace("-", "_", 1),
    "b-PER": lambda tag: tag[0].lower() + tag[1:],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LETTERS)
def test_spans_come_back_as_they_were_marked(name, form):
    labels = tuple(
        FORMS[form](tag) for tag in ["O", *(f"{letter}-{kind}" for letter in LETTERS[name] for kind in TYPES)]
    )
    scheme = tag_schemes.scheme(labels)
    numbers = {}
    for spans, length in sentences(0):
        tags = [FORMS[form](tag) for tag in marked(spans, length, name)]
        found = scheme.spans([labels.index(tag) for tag in tags])
        assert {span[1:] for span in found} == {span[1:] for span in spans}
        kinds = {span[1:]: span[0] for span in spans}
        for kind, *where in found:
            assert numbers.setdefault(kind, kinds[tuple(where)]) == kinds[tuple(where)]
    assert sorted(numbers.values()) == sorted(TYPES)


def test_tags_without_types_are_spans_of_one_type():
    assert tag_schemes.scheme(("B", "M", "E", "S")).spans([0, 1, 2, 3, 0, 2]) == {
        ("0", 0, 2), ("0", 3, 3), ("0", 4, 5),
    }  # fmt: skip
    assert tag_schemes.scheme(("O", "B", "I")).spans([1, 2, 0, 1, 1]) == {("0", 0, 1), ("0", 3, 3), ("0", 4, 4)}


@pytest.mark.parametrize(
    ("letters", "strict"), [("BI", None), ("IE", None), ("I", None), ("BIES", schemes.IOBES), ("BILU", schemes.BILOU)]
)
def test_any_sequence_scores_as_seqeval_scores_it(letters, strict):
    labels = ("O", *(f"{letter}-{kind}" for letter in letters for kind in TYPES))
    rng, want = np.random.default_rng(1), []
    for share in (0.1, 0.3, 1.0):
        gold = [rng.integers(0, len(labels), rng.integers(1, 15)) for _ in range(200)]
        predicted = [np.where(rng.random(len(g)) < share, rng.integers(0, len(labels), len(g)), g) for g in gold]
        names = [[[labels[i] for i in row] for row in rows] for rows in (gold, predicted)]
        want.append(f1_score(*names, zero_division=0, **({"mode": "strict", "scheme": strict} if strict else {})))
        assert metrics.FUNCTIONS["entity_f1"](predicted, gold, labels) == pytest.approx(want[-1], abs=1e-12)
    assert want[0] > want[1] > want[2] > 0


def test_a_span_that_is_not_whole_counts_for_nothing():
    labels = ("O", "B-PER", "I-PER", "E-PER", "S-PER")
    assert metrics.FUNCTIONS["entity_f1"]([[1, 2, 0]], [[1, 3, 0]], labels) == 0
    assert metrics.FUNCTIONS["entity_f1"]([[3, 3, 0, 4]], [[1, 3, 0, 4]], labels) == pytest.approx(2 / 3)


def test_types_are_told_apart_whatever_they_hold():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheme = tag_schemes.scheme(("O", "B-A", "I-A", "B-A-", "I-A-", "B-x B-y", "I-x B-y"))
        assert scheme.spans([1, 4, 5, 6]) == {("0", 0, 0), ("1", 1, 1), ("2", 2, 3)}


@pytest.mark.parametrize(
    ("labels", "named"),
    [(["O", "ORG", "PER"], "'ORG'"), (["O", "V"], "'V'"), (["O", "B-PER", "PER"], "'PER'"), (["NN", "VB"], "'NN'"),
     (["O", "B-PER", "B-LOC", "per-Q"], "'per-Q'"), (["O", "o"], "of no scheme"),
     (["O", "B-X", "S-X", "L-X"], "of no scheme")],
)  # fmt: skip
def test_labels_of_no_scheme_are_refused_when_a_suite_is_read(tmp_path, labels, named):
    task = {"kind": "tagging", "inputs": ["tokens"], "label": "tags", "labels": labels, "metric": "accuracy",
            "source": {"folder": "."}}  # fmt: skip
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "tasks": {"ner": task}}))
    assert suite_files.read_suite(path)[0].tasks["ner"].labels == labels  # accuracy is of any labels
    for metric in ({"metric": "entity_f1"}, {"metrics": ["entity_f1"]}):
        path.write_text(yaml.safe_dump({"name": "s", "tasks": {"ner": task | metric}}))
        with pytest.raises(InputError, match=rf"suite.yaml: tasks.ner: .*{named}.*metric: accuracy"):
            suite_files.read_suite(path)
    with pytest.raises(InputError, match="entity_f1 needs"):
        metrics.FUNCTIONS["entity_f1"]([[0]], [[1]], tuple(labels))

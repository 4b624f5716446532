"""Names that programs outside this repository call: they stay where they are, whatever moves behind them."""

import importlib

import pytest

import auxlearn

NAMES = {
    "auxlearn": ("Suite", "planted"),
    "auxlearn.cost": ("encoder_flops",),
    "auxlearn.evaluation.metrics": ("score",),
    "auxlearn.evaluation.stats": ("bootstrap_interval", "holm", "paired_permutation_test"),
    "auxlearn.methods": ("get", "names"),
    "auxlearn.methods.autosem": ("Bandit",),
    "auxlearn.methods.fastmtl": ("bce_loss", "ce_loss", "scores"),
    "auxlearn.methods.gradts": ("head_importance", "kendall_tau", "normalise"),
    "auxlearn.methods.ranking": ("matched_random", "random_n", "top_n"),
    "auxlearn.methods.tawt": ("mirror_step",),
    "auxlearn.models": ("build", "collate"),
}


@pytest.mark.parametrize("module", NAMES)
def test_is_there_under_its_own_name(module):
    home = importlib.import_module(module)
    for name in NAMES[module]:
        assert getattr(home, name).__name__ == name


def test_any_other_name_is_an_error_as_of_any_module():
    with pytest.raises(AttributeError, match="module 'auxlearn' has no attribute 'suite'"):
        _ = auxlearn.suite


def test_the_planted_suite_is_the_one_of_its_word():
    assert auxlearn.planted().fingerprint == auxlearn.Suite.from_yaml("planted").fingerprint

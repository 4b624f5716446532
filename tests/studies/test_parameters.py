import sys
from pathlib import Path

import pytest

from auxlearn.errors import InputError
from auxlearn.studies import parameters
from auxlearn.training import shared_parameters


def test_unknown_and_mistyped_parameters_are_refused():
    with pytest.raises(InputError, match="unknown parameter 'learning_rate'"):
        parameters.validate("06_mtl", {"learning_rate": 1e-3})
    with pytest.raises(InputError, match=r"lr: .*write 1\.0e-3 with a dot"):
        parameters.validate("06_mtl", {"lr": "1e-3"})
    with pytest.raises(InputError, match="words like no, yes, on, off in quotes"):
        parameters.validate("06_mtl", {"encoder": False})
    with pytest.raises(InputError, match="arm"):
        parameters.validate("06_mtl", {"arm": "td"})
    with pytest.raises(InputError, match="n: "):
        parameters.validate("03_ranking", {"n": 0})
    with pytest.raises(InputError, match="names one twice"):
        parameters.validate("06_mtl", {"seeds": [1, 1]})
    with pytest.raises(InputError, match="begin with 'single'"):
        parameters.validate("07_efficiency", {"arms": ["random", "single"]})
    assert parameters.validate("06_mtl", {"lr": 1}).lr == 1.0


def test_a_notebook_s_globals_are_read_without_ipython_s_own():
    names = {
        "In": [],
        "Out": {},
        "get_ipython": print,
        "exit": object(),
        "_": 1,
        "_i1": "x",
        "params": parameters,
        "arm": "single",
    }
    assert parameters.check("06_mtl", names).arm == "single"
    with pytest.raises(InputError, match="the import of 'n' hides the parameter"):
        parameters.check("06_mtl", names | {"n": parameters})
    with pytest.raises(InputError, match="unknown parameter 'epoch'"):
        parameters.check("06_mtl", names | {"epoch": 3})


def test_smoke_size_is_for_the_planted_suite_only():
    with pytest.raises(InputError, match="starter"):
        parameters.validate("06_mtl", {"suite": "params/suites/sentence.yaml"})
    with pytest.raises(InputError, match="starter"):
        parameters.validate("06_mtl", {"encoder": "minilm"})
    assert parameters.validate("06_mtl", {"encoder": "minilm", "size": "full"}).encoder == "minilm"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the processor's flags from /proc/cpuinfo")
def test_bf16_is_taken_only_where_the_processor_has_it():
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert shared_parameters.has_bf16("cpu") == bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def test_auto_is_resolved_and_a_missing_device_is_named(monkeypatch):
    monkeypatch.setattr(shared_parameters, "_cuda", lambda: False)
    smoke = parameters.validate("06_mtl", {}).resolved()
    assert (smoke.device, smoke.precision, smoke.threads) == ("cpu", "fp32", 1)
    for native, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(shared_parameters, "has_bf16", lambda device, native=native: native)
        full = parameters.validate("06_mtl", {"size": "full", "threads": 0}).resolved()
        assert (full.device, full.precision) == ("cpu", precision)
        assert full.threads >= 1
    assert parameters.validate("06_mtl", {"size": "full", "precision": "bf16"}).resolved().precision == "bf16"
    with pytest.raises(InputError, match="no CUDA device"):
        parameters.validate("06_mtl", {"device": "cuda"}).resolved()


def test_keys_hold_what_matters_and_nothing_else():
    make = lambda **given: parameters.validate("06_mtl", given).key_params()  # noqa: E731
    assert make(study="a") == make(study="b")
    assert make(suite="planted") == make()
    assert make(arm="single", n=5) == make(arm="single", n=9)
    assert make(arm="random", n=5) != make(arm="random", n=9)
    assert make(arm="single", single_epochs=3) != make(arm="single")
    assert make(arm="random", single_epochs=3) == make(arm="random")
    assert make(arm="single", auxiliaries=["look_alike"]) == make(arm="single")
    assert make(auxiliaries=["a", "b"]) == make(auxiliaries=["b", "a"])
    proxy = lambda **given: parameters.validate("02_td_proxy", given).key_params()  # noqa: E731
    assert proxy(primary="look_alike") == proxy(primary="topic_side")
    assert proxy(seed=1) != proxy()


def test_score_follows_the_loss_unless_told():
    make = lambda **given: parameters.validate("03_ranking", given).score_kind()  # noqa: E731
    assert make(discriminator="bce") == "sigmoid"
    assert make(discriminator="ce") == "softmax"
    assert make(discriminator="ce", score="sigmoid") == "sigmoid"  # the authors' code

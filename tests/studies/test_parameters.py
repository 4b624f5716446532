import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.studies import parameters
from auxlearn.training import shared_parameters
from auxlearn.training.phases import Plan


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


def test_demo_size_is_for_the_planted_suite_only():
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
    demo = parameters.validate("06_mtl", {}).resolved()
    assert (demo.device, demo.precision, demo.threads) == ("cpu", "fp32", 1)
    for native, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(shared_parameters, "has_bf16", lambda device, native=native: native)
        full = parameters.validate("06_mtl", {"size": "full", "threads": 0}).resolved()
        assert (full.device, full.precision) == ("cpu", precision)
        assert full.threads >= 1
    assert parameters.validate("06_mtl", {"size": "full", "precision": "bf16"}).resolved().precision == "bf16"
    with pytest.raises(InputError, match="no CUDA device"):
        parameters.validate("06_mtl", {"device": "cuda"}).resolved()


@pytest.mark.parametrize("major", [7, 8])
def test_bf16_is_refused_on_a_gpu_that_does_not_multiply_in_it(monkeypatch, major):
    """Volta and Turing are 7.0 and 7.5; elsewhere the GPU cannot be seen, and the job there refuses it."""
    monkeypatch.setattr(shared_parameters, "_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: major >= 8 or including_emulation)
    shared_parameters.has_bf16.cache_clear()
    given = parameters.validate("06_mtl", {"device": "cuda", "precision": "bf16", "size": "full"})
    auto = given.model_copy(update={"precision": "auto"})
    if major >= 8:
        assert (given.resolved().precision, auto.resolved().precision) == ("bf16", "bf16")
    else:
        assert auto.resolved().precision == "fp32"
        with pytest.raises(InputError, match=r"does not multiply bf16 \(Volta and Turing do not\); use fp32 or auto"):
            given.resolved()
    assert given.resolved(elsewhere=True).precision == "bf16"
    shared_parameters.has_bf16.cache_clear()


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
def test_tf32_is_refused_where_nothing_multiplies_in_it(monkeypatch, capability):
    monkeypatch.setattr(shared_parameters, "_cuda", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    given = parameters.validate("06_mtl", {"device": "cuda", "precision": "tf32", "size": "full"})
    if capability >= (8, 0):
        assert given.resolved().precision == "tf32"
        assert given.resolved().key_params() != given.model_copy(update={"precision": "fp32"}).resolved().key_params()
    else:
        with pytest.raises(InputError, match=r"NVIDIA GPUs since Ampere .* this GPU does not; use fp32 or auto"):
            given.resolved()
    assert given.resolved(elsewhere=True).precision == "tf32"
    for elsewhere in (False, True):
        with pytest.raises(InputError, match="a processor does not"):
            given.model_copy(update={"device": "cpu"}).resolved(elsewhere=elsewhere)


def test_a_gpu_s_keys_do_not_hold_the_host_s_threads():
    made = [parameters.validate("06_mtl", {"device": "cuda", "threads": n}) for n in (1, 4)]
    assert made[0].key_params() == made[1].key_params()
    assert "threads" not in made[0].shared()
    keyed = lambda device, n: Plan("tiny", (), {}, device=device, threads=n).key_content(suite)  # noqa: E731
    suite = SimpleNamespace(fingerprint="x")
    there, here = ([keyed(device, n) for n in (1, 4)] for device in ("cuda:1", "cpu"))
    assert there[0] == there[1]
    assert here[0] != here[1]


def test_keys_hold_what_matters_and_nothing_else():
    make = lambda **given: parameters.validate("06_mtl", given).key_params()  # noqa: E731
    assert make(study="a") == make(study="b")
    assert make(suite="planted") == make()
    assert make(arm="single", n=5) == make(arm="single", n=9)
    assert make(arm="random", n=5) != make(arm="random", n=9)
    epochs = {"methods": {"single": {"epochs": 3}}}
    assert make(arm="single", **epochs) != make(arm="single")
    assert make(arm="random", **epochs) == make(arm="random")
    assert make(arm="single", auxiliaries=["look_alike"]) == make(arm="single")
    assert make(auxiliaries=["a", "b"]) == make(auxiliaries=["b", "a"])
    proxy = lambda **given: parameters.validate("02_td_proxy", given).key_params()  # noqa: E731
    assert proxy(primary="look_alike") == proxy(primary="topic_side")
    assert proxy(seeds=[1]) != proxy()
    assert proxy(workers=2) == proxy()


def test_a_key_holds_its_method_s_options_whole_and_no_other_s():
    make = lambda **given: parameters.validate("06_mtl", given).key_params()["methods"]  # noqa: E731
    of = lambda name: registry.get(name).Options().model_dump()  # noqa: E731
    assert make(arm="single") == {"single": of("single")}
    assert make(arm="gradts_thres+tawt_joint") == {name: of(name) for name in ("gradts_thres", "tawt_joint")}
    assert make(arm="tawt_joint") == {name: of(name) for name in ("all_data", "tawt_joint")}
    told = {"gradts_trial": {"trial_most": 2}, "autosem": {"bandit_rounds": 5}}
    assert make(arm="gradts_trial", methods=told) == {"gradts_trial": of("gradts_trial") | {"trial_most": 2}}
    spelled_out = {"gradts_trial": of("gradts_trial")}
    assert make(arm="gradts_trial", methods=spelled_out) == make(arm="gradts_trial")  # as told, as by default
    watched = parameters.validate("05_tawt_weighting", {"paradigm": "pretrain"}).key_params()["methods"]
    assert watched == {"tawt_pretrain": registry.get("tawt_joint").Options(weight_every=12).model_dump()}


def test_an_option_of_a_family_reaches_each_member_that_has_it():
    p = parameters.validate("06_mtl", {"methods": {
        "gradts": {"trial_most": 2, "task_threshold": 0.3}, "gradts_fg": {"trial_most": 3}, "tawt": {"probe_rows": 9},
    }})  # fmt: skip
    options = lambda name: p.options(registry.get(name))  # noqa: E731
    assert options("gradts_trial").trial_most == 2
    assert options("gradts_thres").task_threshold == options("gradts_fg").task_threshold == 0.3
    assert options("gradts_fg").trial_most == 3  # its own is nearer
    assert not hasattr(options("gradts_thres"), "trial_most")
    assert options("share_50").probe_rows == options("tawt_deciles").probe_rows == 9
    assert options("autosem") == registry.get("autosem").Options()


@pytest.mark.parametrize("stage", ["05_tawt_weighting", "06_mtl"])
@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (
            {"gradts_thres": {"trial_most": 4}},
            "gradts_thres has no option 'trial_most'; it has definition",
        ),
        ({"gradts": {"trial_mots": 4}}, r"gradts has no option 'trial_mots'; did you mean 'trial_most'\?"),
        ({"step_matched": {"n": 4}}, "step_matched has no option 'n'; it has none"),
        ({"random": {"n": 4}}, "random has no option 'n'; it has candidates_of"),
        ({"td_bce": {"epochs": 4}}, "td_bce has no option 'epochs'; it has proxies, score, proxy_layers"),
        ({"gradts_tres": {}}, r"'gradts_tres' is no method or family of methods; did you mean 'gradts_thres'\?"),
        ({"gradts_trial": {"trial_most": 0}}, "methods: gradts_trial: trial_most: .*greater than or equal to 1"),
        ({"gradts": {"trial_most": "4"}}, "trial_most: .*valid integer"),
        ({"gradts": 4}, "methods.gradts"),
        ({"tawt": {"weight_evry": 4}}, r"tawt has no option 'weight_evry'; did you mean 'weight_every'\?"),
    ],
)
def test_options_that_no_method_has_are_refused(stage, methods, words):
    with pytest.raises(InputError, match=words):
        parameters.validate(stage, {"methods": methods})


@pytest.mark.parametrize(
    ("stage", "name", "remedy"),
    [
        ("06_mtl", "single_epochs", "option of single; give it as methods: {single: {epochs: …}}"),
        ("06_mtl", "all_data_recipe", "option of all_data; give it as methods: {all_data: {recipe: …}}"),
        ("06_mtl", "mtdnn_lr", "option of all_data; give it as methods: {all_data: {mtdnn_lr: …}}"),
        ("06_mtl", "trial_most", "option of gradts; give it as methods: {gradts: {trial_most: …}}"),
        ("06_mtl", "bandit_rounds", "option of autosem; give it as methods: {autosem: {bandit_rounds: …}}"),
        ("06_mtl", "probe_rows", "option of tawt; give it as methods: {tawt: {probe_rows: …}}"),
        ("05_tawt_weighting", "weight_every", "option of tawt; give it as methods: {tawt: {weight_every: …}}"),
        ("02_td_proxy", "seed", "unknown parameter 'seed'; did you mean 'seeds'?"),
        ("03_ranking", "probe_rows", "unknown parameter 'probe_rows'"),  # it has no methods to give it to
    ],
)
def test_what_was_a_parameter_once_is_refused_with_where_it_goes_now(stage, name, remedy):
    with pytest.raises(InputError, match=re.escape(remedy)):
        parameters.validate(stage, {name: 3})


def test_settings_take_what_the_cell_does_not_show_and_nothing_else():
    names = {"n": 30, "settings": {"keep_leaks": True, "tune_steps": 3}, "steps": 9}
    p = parameters.check("06_mtl", names)
    assert (p.n, p.keep_leaks, p.steps, p.tune_steps) == (30, True, 9, 3)
    for settings, words in (
        ({"n": 40}, "settings: 'n' has a line of its own; set it there"),
        ({"lr": 0.1}, "settings: 'lr' has a line of its own"),  # shown, and so refused though not given
        ({"keep_leak": True}, "unknown parameter 'keep_leak'; did you mean 'keep_leaks'"),
        ([], "is not a dict of parameters by name"),
    ):
        with pytest.raises(InputError, match=words):
            parameters.check("06_mtl", names | {"settings": settings})


@pytest.mark.parametrize("stage", parameters.MODELS)
def test_a_notebook_s_form_of_parameters_is_undone(stage):
    plain = parameters.MODELS[stage]()
    told = plain.model_copy(
        update={"size": "full", "max_length": 64, "n": 3, "seeds": [4], "lr": 0.5, "device": "cuda"}
    )
    for p in (plain, told):
        values = {name: value for name, value in p.model_dump().items() if name in type(p).model_fields}
        form = parameters.for_notebook(stage, values)
        assert set(form) == {*parameters.SHOWN[stage], "settings"}
        assert type(p).model_validate(parameters.flat(stage, form)).model_dump() == values
    assert parameters.for_notebook(stage, plain.model_dump())["settings"] == {}


@pytest.mark.parametrize("stage", parameters.MODELS)
def test_a_parameters_cell_is_short_commented_and_runs_to_the_demo(stage):
    lines = parameters.cell(stage).splitlines()
    assert len(lines) <= 21
    names = [re.fullmatch(r"(\w+) = .*  # \S.*", line)[1] for line in lines]
    assert names == [*parameters.SHOWN[stage], "settings"]
    found = {}
    exec("\n".join(lines), found)
    assert parameters.check(stage, found) == parameters.validate(stage, parameters.DEMO[stage])


@pytest.mark.parametrize("stage", parameters.MODELS)
def test_every_parameter_is_described(stage):
    text = parameters.described(stage)
    for name, field in parameters.MODELS[stage].model_fields.items():
        assert field.description, name
        assert f"\n    {name} = {json.dumps(field.default)}  {field.description.split()[0]}" in text
    with pytest.raises(InputError, match="no notebook is called '08_magic'"):
        parameters.described("08_magic")


@pytest.mark.parametrize("name", [*registry.names(), *registry.policies()])
def test_every_option_of_a_method_is_described(name):
    text, options = parameters.described("06_mtl"), registry.get(name).Options.model_fields
    for option, field in options.items():
        assert field.description, option
        assert f"    {option} = {json.dumps(field.default)}  {field.description.split()[0]}" in text


def test_score_follows_the_loss_unless_told():
    make = lambda **given: parameters.validate("03_ranking", given).score_kind()  # noqa: E731
    assert make(discriminator="bce") == "sigmoid"
    assert make(discriminator="ce") == "softmax"
    assert make(discriminator="ce", score="sigmoid") == "sigmoid"  # the authors' code


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_more_threads_or_processes_than_cores_could_serve_are_refused(name):
    most = shared_parameters.PER_CORE * os.cpu_count()
    assert getattr(parameters.validate("06_mtl", {name: most}).resolved(), name) == most
    with pytest.raises(InputError, match=rf"{name}: {most + 1} on \d+ cores"):
        parameters.validate("06_mtl", {name: most + 1}).resolved()

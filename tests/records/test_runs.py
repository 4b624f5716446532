"""Keys, status, staleness, lookup: what makes a finished run trustworthy."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.methods.fastmtl.options import TDProxy
from auxlearn.paths import NOTEBOOKS
from auxlearn.records import code_hash as code
from auxlearn.records import run_search, runs
from auxlearn.reporting import notebook
from auxlearn.studies import parameters
from auxlearn.training import key_forms, training_cache


def finished(stage="02_td_proxy", given=None, suite="s", inputs=(), **kwargs):
    """A small finished run with one file."""
    p = parameters.validate(stage, given or {}).resolved()
    key = runs.key(stage, p.key_params(), suite, [m.key for m in inputs])
    run = runs.Run(stage, key, p.model_dump(), suite, list(inputs), p.key_params(), **kwargs)
    run.path("data.txt").write_text("42")
    return run.finish(["data.txt"], {"x": 1})


def test_three_primaries_share_one_proxy():
    keys = {
        runs.key("02_td_proxy", parameters.validate("02_td_proxy", {"primary": t}).key_params(), "s", [])
        for t in ("topic_side", "topic_name", "look_alike")
    }
    assert len(keys) == 1


def test_a_key_follows_suite_inputs_and_parameters_only():
    base = runs.key("s", {"a": 1, "b": 2}, "suite", ["x", "y"])
    assert base == runs.key("s", {"b": 2, "a": 1}, "suite", ["y", "x"])
    assert base != runs.key("t", {"a": 1, "b": 2}, "suite", ["x", "y"])
    assert base != runs.key("s", {"a": 1, "b": 3}, "suite", ["x", "y"])
    assert base != runs.key("s", {"a": 1, "b": 2}, "other", ["x", "y"])
    assert base != runs.key("s", {"a": 1, "b": 2}, "suite", ["x"])


def test_the_same_cell_has_one_key_from_any_folder(folder_suite, tmp_path, monkeypatch):
    given = {"suite": str(folder_suite), "primary": "pair", "size": "full", "rows": 20}
    first = notebook.start("01_data_prep", given).run.key
    other = tmp_path / "elsewhere"
    other.mkdir()
    (tmp_path / "data").rename(other / "data")
    folder_suite.rename(other / "s.yaml")
    monkeypatch.chdir(other)
    assert notebook.start("01_data_prep", given | {"suite": str(other / "s.yaml")}).run.key == first
    file = other / "data" / "pair" / "dev.jsonl"
    file.write_text(file.read_text().replace("first text 1", "other text 1"))
    assert notebook.start("01_data_prep", given | {"suite": str(other / "s.yaml")}).run.key != first


def test_status_comes_from_the_manifest_alone(runs_folder):
    assert runs.read("02_td_proxy", "0" * 16) == ("missing", None)
    manifest = finished()
    assert runs.read(manifest.stage, manifest.key)[0] == "finished"
    file = manifest.path("manifest.json")
    text = file.read_text()
    file.unlink()
    assert runs.read(manifest.stage, manifest.key) == ("interrupted", None)
    with pytest.raises(InputError, match="was interrupted before it finished"):
        runs.load(manifest.stage, manifest.key)
    file.write_text(text[: len(text) // 2])
    assert runs.read(manifest.stage, manifest.key)[0] == "damaged"
    file.write_text(text)
    manifest.path("data.txt").write_text("43")
    assert runs.read(manifest.stage, manifest.key)[0] == "damaged"
    with pytest.raises(InputError, match="altered or removed"):
        runs.load(manifest.stage, manifest.key)
    manifest.path("data.txt").unlink()
    assert runs.read(manifest.stage, manifest.key)[0] == "damaged"


def test_a_killed_process_leaves_no_finished_run(runs_folder):
    """A real process, killed by SIGKILL between its last file and its manifest."""
    script = """
        import os, signal
        from auxlearn.records import runs
        run = runs.Run("02_td_proxy", "a" * 16, {}, "s")
        run.path("data.txt").write_text("42")
        os.kill(os.getpid(), signal.SIGKILL)
        run.finish(["data.txt"], {})
    """
    made = subprocess.run([sys.executable, "-c", textwrap.dedent(script)])
    assert made.returncode == -9
    assert runs.read("02_td_proxy", "a" * 16)[0] == "interrupted"


def test_a_manifest_records_where_a_result_comes_from():
    data = finished().data
    assert data["outputs"]["data.txt"] == runs.file_hash(runs.runs_root() / "02_td_proxy" / data["key"] / "data.txt")
    assert {"torch", "transformers", "python"} <= set(data["versions"])
    assert data["params"]["seeds"] == [0, 1]
    assert "primary" not in data["key_params"]
    assert set(data) >= {"git", "device", "threads", "started", "finished", "code", "ledger", "seeds", "rows", "schema"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package's folder: a imports b, b is independent."""
    (tmp_path / "a.py").write_text(
        '"""Doc."""\nfrom auxlearn import b\n\n\ndef f(x):\n    """Adds."""\n    return x + b.ONE\n'
    )
    (tmp_path / "b.py").write_text("ONE = 1\n")
    (tmp_path / "c.py").write_text("TWO = 2\n")
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    return tmp_path


def test_an_edited_comment_makes_nothing_stale(package):
    before = code.code_hash(["a"])
    (package / "a.py").write_text(
        "from auxlearn import b  # what it adds\n\n\ndef f(x):\n    '''Other words.'''\n    return (x + b.ONE)\n"
    )
    assert code.code_hash(["a"]) == before
    (package / "c.py").write_text("TWO = 3\n")
    assert code.code_hash(["a"]) == before
    (package / "b.py").write_text("ONE = 11\n")
    assert code.code_hash(["a"]) != before


def test_a_notebook_is_stale_by_its_code_cells_only(tmp_path):
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    def written(*cells):
        nbformat.write(new_notebook(cells=list(cells)), tmp_path / "n.ipynb")
        return code.code_hash((), tmp_path / "n.ipynb")

    settings = new_code_cell("n = 1", metadata={"tags": ["parameters"]})
    base = written(settings, new_code_cell("x = 1"))
    output = nbformat.v4.new_output("stream", text="hello")
    assert base == written(new_markdown_cell("# Title"), settings, new_code_cell("x = 1  # one", outputs=[output]))
    assert base == written(new_code_cell("n = 2", metadata={"tags": ["parameters"]}), new_code_cell("x = 1"))
    assert base != written(settings, new_code_cell("x = 2"))


def test_code_of_a_run_covers_what_it_imports_at_any_depth():
    used = code.modules(["training.train"])
    wanted = {
        "models.multitask",
        "data.batching",
        "data.suites",
        "data.reading.readers",
        "evaluation.metrics",
        "seeding",
    }
    assert wanted | {"models", "data", "training"} <= used  # and the packages that they lie in
    unused = {"data.planted", "records.runs", "evaluation.stats", "reporting", "studies", "methods"}
    assert not unused & used


def test_code_of_a_training_covers_the_trainer_and_the_objective_that_its_plan_names(small):
    (proxy, _), _ = proxy_plans.proxies(TDProxy(proxy_rows=20, watch_rows=10).resolved(), small, 0)
    roots = training_cache.code_roots(proxy)
    assert {"training.train", "methods.fastmtl.discriminator"} <= code.modules(roots)
    bare = proxy_plans.without_discriminator(proxy)
    assert "methods.fastmtl.discriminator" not in code.modules(training_cache.code_roots(bare))


def test_changed_code_makes_a_run_and_all_that_read_it_stale(monkeypatch):
    proxy = finished(code_roots=("seeding",))
    ranking = finished("03_ranking", inputs=[proxy], code_roots=("errors",))
    assert runs.read(ranking.stage, ranking.key)[0] == "finished"
    real = code.code_hash
    monkeypatch.setattr(code, "code_hash", lambda roots, n=None: "changed" if "seeding" in roots else real(roots, n))
    assert runs.read(proxy.stage, proxy.key)[0] == "stale"
    assert runs.read(ranking.stage, ranking.key)[0] == "stale"
    with pytest.raises(InputError, match="made by other code"):
        runs.load(ranking.stage, ranking.key)


@pytest.fixture
def as_imported(tmp_path, monkeypatch):
    """A copy of the package, in the place of the one that this process imported."""
    shutil.copytree(code.PACKAGE, tmp_path / "auxlearn", copy_function=shutil.copy2)
    monkeypatch.setattr(code, "PACKAGE", tmp_path / "auxlearn")
    return tmp_path / "auxlearn"


def test_a_run_of_a_process_whose_code_was_edited_meanwhile_is_stale(as_imported):
    fine, other = finished(code_roots=("seeding",)), finished(given={"seeds": [1]}, code_roots=("files.bounded_files",))
    with open(as_imported / "seeding.py", "a") as file:
        file.write("\nMORE = 1\n")
    made = finished(given={"seeds": [2]}, code_roots=("seeding",))  # what was imported is not what is there now
    assert made.code["hash"] == runs.EDITED
    assert runs.read(made.stage, made.key)[0] == "stale"
    assert runs.read(fine.stage, fine.key)[0] == "stale"
    assert runs.read(other.stage, other.key)[0] == "finished"


@pytest.mark.parametrize("now", ["# a comment\n{}", "{}"])
def test_a_module_that_was_touched_or_has_a_new_comment_was_not_edited(as_imported, now):
    file = as_imported / "seeding.py"
    file.write_text(now.replace("{}", file.read_text()))
    os.utime(file, (1, 1))
    made = finished(code_roots=("seeding",))
    assert made.code["hash"] != runs.EDITED
    assert runs.read(made.stage, made.key)[0] == "finished"


@pytest.mark.parametrize("change", [lambda file: file.write_text("def half("), lambda file: file.unlink()])
def test_code_that_is_half_written_or_gone_loses_no_run_and_makes_it_stale(as_imported, change):
    older = finished(code_roots=("seeding",))
    change(as_imported / "seeding.py")
    made = finished(given={"seeds": [2]}, code_roots=("seeding",))
    assert made.code["hash"] == runs.EDITED
    assert [runs.read(m.stage, m.key)[0] for m in (older, made)] == ["stale", "stale"]


def test_a_process_that_is_older_than_its_code_makes_no_unit_and_removes_nothing(as_imported):
    run = runs.Run("train", "k" * 16, {}, "s", code_roots=("seeding",))
    with run.lock():
        run.path("checkpoint.safetensors").write_text("of the same code")
    (as_imported / "seeding.py").write_text("MORE = 1\n")
    with pytest.raises(InputError, match=r"the code of train, or of what it imports, was edited"):
        run.lock()


def test_a_unit_is_made_once_and_again_where_a_file_of_it_is_gone():
    made = []

    def unit():
        run = runs.Run("train", "u" * 16, {}, "s", code_roots=("seeding",))

        def make():
            made.append(1)
            run.path("value.txt").write_text("of this code")
            return run.finish(["value.txt"], {"times": len(made)})

        return run.once(make)

    assert [unit().metrics["times"] for _ in range(3)] == [1, 1, 1]
    (unit().folder / "value.txt").unlink()
    assert [unit().metrics["times"] for _ in range(2)] == [2, 2]
    assert len(made) == 2


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Copies of the notebooks, in their place."""
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    for module in (runs, notebook):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path / "notebooks"


def changed(file):
    file.write_text(file.read_text().replace("globals())", "globals() | {})"))


def test_a_notebook_that_is_saved_otherwise_while_it_runs_makes_no_run(copied):
    file = copied / "01_data_prep.ipynb"
    session = notebook.start("01_data_prep", {})
    session.run.path("x.txt").write_text("1")
    file.write_text(file.read_text().replace("**What was learned.**", "**What we learned.**"))  # prose is no code
    assert session.finish(["x.txt"], {}).code["hash"] != runs.EDITED
    session.run.path("manifest.json").unlink()
    changed(file)
    with pytest.raises(InputError, match=r"was edited after this kernel .* run the notebook from its first cell"):
        session.finish(["x.txt"], {})
    assert runs.read("01_data_prep", session.run.key)[0] == "interrupted"


def test_a_notebook_that_is_saved_otherwise_while_it_opens_makes_no_run(copied, monkeypatch, runs_folder):
    real = suites.load
    monkeypatch.setattr(suites, "load", lambda *a: (changed(copied / "01_data_prep.ipynb"), real(*a))[1])
    with pytest.raises(InputError, match="was edited after this kernel"):
        notebook.start("01_data_prep", {})
    assert not (runs_folder / "01_data_prep").exists()


def test_a_kernel_that_is_older_than_its_code_is_told_so_before_it_begins(as_imported, runs_folder):
    (as_imported / "seeding.py").write_text("MORE = 1\n")
    with pytest.raises(InputError, match="restart it"):
        notebook.start("01_data_prep", {})
    assert not (runs_folder / "01_data_prep").exists()


def test_an_order_that_decides_nothing_tells_no_runs_apart(planted):
    two = finished(given={"auxiliaries": ["topic_name", "look_alike"]}, stage="03_ranking")
    wanted = {"auxiliaries": ["look_alike", "topic_name"]}
    assert run_search.agrees(two, key_forms.forms(wanted))
    assert finished(given=wanted, stage="03_ranking").key == two.key
    assert not run_search.agrees(two, key_forms.forms({"auxiliaries": ["look_alike"]}))
    orders = [planted.auxiliaries("topic_side", only) for only in (wanted["auxiliaries"], two.params["auxiliaries"])]
    assert orders[0] == orders[1] == [name for name in planted.names if name in orders[0]]


def test_a_key_without_a_parameter_that_came_later_stands_for_its_first_value():
    old, cheap = finished(given={}), finished(given={"proxy_layers": 1})
    later = parameters.TDProxy.later
    assert "proxy_layers" not in old.data["key_params"]
    assert old.key != cheap.key
    for wanted, fitting in (({}, [old, cheap]), ({"proxy_layers": 0}, [old]), ({"proxy_layers": 1}, [cheap])):
        assert [m for m in (old, cheap) if run_search.agrees(m, wanted, later)] == fitting
    assert run_search.find("02_td_proxy", {"proxy_layers": 1}, old.suite, later=later).key == cheap.key


def test_encoders_in_folders_are_told_apart_by_content_wherever_a_run_names_them(tmp_path):
    given = {"suite": "x.yaml", "size": "full", "precision": "fp32", "device": "cpu", "encoder": str(tmp_path / "e")}
    content = tmp_path / "e" / "config.json"
    content.parent.mkdir()
    content.write_text("{}")
    proxy = finished(given=given)
    heads = finished("04_gradts_correlation", given | {"encoder": "minilm", "also": [given["encoder"]]})
    assert run_search.agrees(proxy, key_forms.forms({"encoder": given["encoder"]}))
    assert run_search.agrees(heads, key_forms.forms({"also": [given["encoder"]]}))
    content.write_text("{ }")
    assert not run_search.agrees(proxy, key_forms.forms({"encoder": given["encoder"]}))
    assert not run_search.agrees(heads, key_forms.forms({"also": [given["encoder"]]}))
    assert finished(given=given).key != proxy.key


def test_a_manifest_that_does_not_say_what_it_is_a_run_of_is_none(capsys):
    good = finished()
    record = json.loads(good.path("manifest.json").read_text())
    for name in ("suite", "params", "key_params"):
        good.path("manifest.json").write_text(json.dumps({k: v for k, v in record.items() if k != name}))
        with pytest.raises(InputError, match=r"no run of 02_td_proxy matches seed=0"):
            run_search.find("02_td_proxy", {"seed": 0}, "s")
        assert runs.read(good.stage, good.key)[0] == "damaged"


def test_a_run_whose_input_was_made_anew_otherwise_is_stale():
    proxy = finished()
    ranking = finished("03_ranking", inputs=[proxy])
    record = json.loads(proxy.path("manifest.json").read_text())
    proxy.path("data.txt").write_text("43")
    record["outputs"]["data.txt"] = runs.file_hash(proxy.path("data.txt"))
    proxy.path("manifest.json").write_text(json.dumps(record))
    assert runs.read(proxy.stage, proxy.key)[0] == "finished"
    assert runs.read(ranking.stage, ranking.key)[0] == "stale"


def test_lookup_finds_the_one_run_that_fits():
    finished(given={"seeds": [1]})
    wanted = finished(given={"seeds": [2]})
    assert run_search.find("02_td_proxy", {"seed": 2, "discriminator": "bce", "n": 7}, "s").key == wanted.key


def test_a_seed_is_found_in_the_run_that_holds_it_among_others():
    several = finished(given={"seeds": [3, 4]})
    for seed in (3, 4):
        assert run_search.find("02_td_proxy", {"seed": seed}, "s").key == several.key
    assert run_search.find("02_td_proxy", {"seeds": [3, 4]}, "s").key == several.key
    with pytest.raises(InputError, match="no run of 02_td_proxy matches seed=5"):
        run_search.find("02_td_proxy", {"seed": 5}, "s")
    finished(given={"seeds": [4]})
    both = r"(?s)2 runs of 02_td_proxy match seed=4(?=.*seeds=\[3, 4\])(?=.*seeds=\[4\])"
    with pytest.raises(InputError, match=both):
        run_search.find("02_td_proxy", {"seed": 4}, "s")


def test_the_line_that_makes_a_missing_run_is_one_that_its_notebook_takes():
    with pytest.raises(InputError) as error:
        notebook.start("03_ranking", {"size": "full", "seeds": [7]})
    given = json.loads(str(error.value).split(" -y ")[1].strip("'"))
    assert given["seeds"] == [7]
    p = parameters.check("02_td_proxy", parameters.TDProxy().model_dump() | given)
    assert (p.size, p.seeds, p.discriminator) == ("full", [7], "bce")


def test_upstream_missing_altered_or_ambiguous_is_refused_with_the_line_to_run():
    with pytest.raises(
        InputError, match=r"no run of 02_td_proxy matches seed=5.*\n  papermill notebooks/02_td_proxy\.ipynb"
    ):
        run_search.find("02_td_proxy", {"seed": 5}, "s")
    manifest = finished(given={"seeds": [5]})
    with pytest.raises(InputError, match="no run of 02_td_proxy"):
        run_search.find("02_td_proxy", {"seed": 5}, "another suite")
    manifest.path("data.txt").write_text("altered")
    with pytest.raises(InputError, match=r"altered or removed.*\n  papermill"):
        run_search.find("02_td_proxy", {"seed": 5}, "s")
    first, second = finished(given={"seeds": [6], "lr": 0.01}), finished(given={"seeds": [6], "lr": 0.02})
    with pytest.raises(InputError, match=r"2 runs of 02_td_proxy match seed=6; name one in `inputs`") as error:
        run_search.find("02_td_proxy", {"seed": 6}, "s")
    assert f"{first.key}  lr=0.01" in str(error.value)
    assert f"{second.key}  lr=0.02" in str(error.value)


def test_a_notebook_refuses_an_input_that_does_not_fit(monkeypatch):
    suite = suites.load("planted", 400)
    other = finished(given={"seeds": [9]}, suite=suite.fingerprint)
    with pytest.raises(InputError, match="exactly one must"):
        notebook.start("03_ranking", {"inputs": [other.key], "seeds": [3]})
    with pytest.raises(InputError, match="is not there"):
        notebook.start("03_ranking", {"inputs": ["f" * 16]})


def test_at_full_size_nothing_upstream_is_made_silently():
    with pytest.raises(InputError, match="no run of 02_td_proxy"):
        notebook.start("03_ranking", {"size": "full"})


def test_a_processor_is_named_with_what_chooses_its_kernels(monkeypatch):
    for name in runs.KERNELS:
        monkeypatch.delenv(name, raising=False)
    plain = runs.device_name("cpu")
    assert plain
    assert "=" not in plain
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").is_file() else set()
    for wider, narrower in itertools.pairwise(name for name in runs.INSTRUCTIONS if name in flags):
        assert f"({narrower})" not in plain, wider
    assert all(f"({name})" in plain for name in [n for n in runs.INSTRUCTIONS if n in flags][:1])
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert runs.device_name("cpu") == f"{plain}, ATEN_CPU_CAPABILITY=avx2, MKL_CBWR=AVX2"
    assert finished().device == runs.device_name("cpu")


def test_a_notebook_bounds_the_threads_of_linear_algebra():
    """In a process of its own: also of libraries that are loaded after the notebook began."""
    code = (
        "import numpy\nfrom auxlearn.reporting import notebook\nnotebook.bound_threads(1)\nimport scipy.linalg\n"
        "import threadpoolctl\n"
        "print([x['num_threads'] for x in threadpoolctl.threadpool_info() if x['user_api'] == 'blas'])"
    )
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=free, check=True)
    assert set(json.loads(made.stdout)) == {1}

"""Who watches sees a bar; what is kept does not hold it. Real kernels."""

import os

import nbformat
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from auxlearn.records import runs

CELLS = [
    'from auxlearn.reporting import notebook\nsession = notebook.start("01_data_prep", {})',
    'session.progress("tune: epoch 1/3, loss <0.5>")\nsession.progress("tune: epoch 2/3")\nprint("kept")',
]


def executed(monkeypatch, watched):
    monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
    if not watched:
        monkeypatch.delenv("JPY_SESSION_NAME")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    seen = []
    client = NotebookClient(book, timeout=120)
    keep = client.process_message
    client.process_message = lambda message, *a: (seen.append(message), keep(message, *a))[1]
    client.execute()
    return book.cells[-1].outputs, [str(m["content"]) for m in seen if "display" in m["msg_type"]]


def test_a_person_sees_a_bar_and_it_is_gone_afterwards(monkeypatch):
    kept, shown = executed(monkeypatch, True)
    assert '<progress value="1" max="3">' in shown[0]
    assert "&lt;0.5&gt;" in shown[0]
    assert '<progress value="2" max="3">' in shown[1]
    texts = [output.get("text") or output["data"].get("text/plain", "") for output in kept]
    assert [text for text in texts if text] == ["kept\n"]
    assert "progress" not in str(kept)


def test_papermill_and_nbval_see_nothing(monkeypatch):
    kept, shown = executed(monkeypatch, False)
    assert not shown
    assert [output["text"] for output in kept] == ["kept\n"]


TRAIN = """
import numpy as np
from auxlearn import seeding
from auxlearn.data import suites
from auxlearn.training import resuming, train, training_cache
resuming.CHECKPOINT_SECONDS = 0.0
suite = suites.Suite.from_yaml("planted").capped(80)
phases = (train.Phase("tune", {"topic_side": np.arange(60)}, %d, train.Recipe(lr=1e-3, batch_size=16)),)
plan = train.Plan("tiny", phases, seeding.record(0), primary="topic_side")
made = training_cache.trained(plan, suite, lambda message: print(message, flush=True))
print("epochs:", len(made.history))
"""


def test_an_interrupted_training_cell_goes_on_from_its_checkpoint():
    """What Jupyter's stop button sends, in the third epoch; then the same cell again."""
    manager, client = start_new_kernel(env=dict(os.environ))
    said = []

    def run(epochs, stop_at=None):
        said.clear()

        def hook(message):
            content = message["content"]
            said.append(content.get("text") or content.get("ename") or "")
            if stop_at and stop_at in said[-1]:
                manager.interrupt_kernel()

        return client.execute_interactive(TRAIN % epochs, output_hook=hook, timeout=300)["content"]

    try:
        stopped = run(400, stop_at="epoch 3/400")
        assert (stopped["status"], stopped["ename"]) == ("error", "KeyboardInterrupt")
        assert list(runs.runs_root().glob("train/*/checkpoint.safetensors"))
        run(400, stop_at="epoch 6/400")
        assert any("resumed tune after epoch" in text for text in said)
        assert not any("epoch 1/400" in text for text in said)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

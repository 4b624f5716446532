"""Who watches sees a bar; what is kept does not hold it. Real kernels."""

import io
import os
import sys

import nbformat
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from auxlearn import progress_bar
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


class Terminal(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


def said(monkeypatch, is_terminal):
    monkeypatch.setattr(sys, "stderr", Terminal(is_terminal))
    with progress_bar.shown() as show:
        if show is not None:
            show("1/4 td_bce, seed 0: epoch 2")
            show("no\ncount " + "x" * 300)
    return sys.stderr.getvalue()


def test_a_terminal_has_one_line_which_is_empty_in_the_end(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    first, second, third = said(monkeypatch, True).split("\r\x1b[K")[1:]
    assert first == "[###.........] 1/4 td_bce, seed 0: epoch 2"
    assert second == ("no count " + "x" * 300)[:59]
    assert third == ""


def test_a_log_and_a_dumb_terminal_have_none(monkeypatch):
    assert said(monkeypatch, False) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert said(monkeypatch, True) == ""
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar.shown() as show:
        assert show is None


def test_a_terminal_that_was_closed_stops_nothing(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal(True))
    with progress_bar.shown() as show:
        sys.stderr.close()
        show("1/4")

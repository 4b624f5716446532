"""One of the processes that `training.launch` starts: `python -m auxlearn.training.worker FOLDER`, run by torchrun."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from auxlearn import processes
from auxlearn.errors import InputError
from auxlearn.training import extension_points, training_cache
from auxlearn.training.launch import JOB, SAID, answer_file, read


def work(folder: Path) -> None:
    """Do one process's share of the job in a folder, and write its answer there.

    Args:
        folder: The folder that `launch` works in; what `launch.write` wrote is in its `job`.
    """
    from accelerate import PartialState

    processes.watch(os.getppid())
    state = PartialState(cpu=_device(folder) == "cpu")
    plan, suite, asked = read(folder / JOB)
    leading, reply = state.is_main_process, {}
    report = (lambda message: print(SAID + message, flush=True)) if leading else (lambda message: None)
    try:
        if asked is not None:
            extension_points.lookup(extension_points.PASS_SHARE)(
                plan, suite, folder, **asked, progress=report, rank=state.process_index, size=state.num_processes
            )
        else:
            result = training_cache.trainer(plan).run(plan, suite, folder, report)
            reply = training_cache.written(result, plan, suite, folder) if leading else {}
    except InputError as error:
        reply = {"error": str(error)}
    answer = answer_file(folder, state.process_index)
    part = answer.with_suffix(".part")
    part.write_text(json.dumps(reply), encoding="utf-8")
    part.replace(answer)
    if asked is None:  # shares of a pass may end hours apart, and a barrier has a time limit
        if "error" in reply:
            os._exit(1)  # others may wait for this one in the middle of a step; torchrun ends them
        state.wait_for_everyone()
    state.destroy_process_group()


def _device(folder: Path) -> str:
    return json.loads((folder / JOB / "job.json").read_text(encoding="utf-8"))["plan"]["device"]


if __name__ == "__main__":
    work(Path(sys.argv[1]))

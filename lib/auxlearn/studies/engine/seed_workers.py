"""A notebook's seeds dealt to processes: each makes what its seeds need, and the notebook then finds it made.

Everything that takes long is a unit (a training, a pass), made once under a lock whoever asks for it, so that the
workers share nothing with the notebook but the run folder. A worker that dies costs time and nothing else: the notebook
makes what is missing, and meets the same error if there is one.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxlearn import cost, processes
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.methods import context, registry
from auxlearn.methods.base import Cell
from auxlearn.studies import parameters

ARTIFACT = {"02_td_proxy": "proxy", "05_tawt_weighting": "final_weights"}
DEALT = (*ARTIFACT, "04_gradts_correlation", "06_mtl", "08_validity")


def start(p: Any, upstream: Sequence[parameters.Common], folder: Path) -> list[subprocess.Popen[bytes]]:
    """Start the workers of a notebook: one process fewer than `workers`, because the notebook works too.

    Args:
        p: The notebook's parameters.
        upstream: Parameters of the runs that it reads.
        folder: Its run folder, for the workers' job and log.

    Returns:
        The processes; none where there is one seed, or no worker is asked for.
    """
    helpers = shares(p) - 1
    if helpers < 1:
        return []
    job = folder / "seeds.json"
    told = {"params": p.model_dump(), "upstream": [[q.stage, q.model_dump()] for q in upstream], "stage": p.stage}
    job.write_text(json.dumps(told), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": str(p.threads), "OPENBLAS_NUM_THREADS": str(p.threads)}
    if p.resolved().device == "cuda":  # which this process's trainings use as well
        environment[cost.SHARED_DEVICE] = os.environ[cost.SHARED_DEVICE] = "1"
    with open(folder / "seeds.log", "w") as log:
        return [
            subprocess.Popen(
                processes.command("auxlearn.studies.engine.seed_workers", job, *p.seeds[share + 1 :: helpers + 1]),
                stdout=log, stderr=subprocess.STDOUT, env=environment,
            )
            for share in range(helpers)
        ]  # fmt: skip


def shares(p: Any) -> int:
    """Count the shares that a notebook's seeds are dealt into: `workers`, if there are as many seeds and cores."""
    if p.stage not in DEALT:
        return 1
    cores = os.cpu_count() or 1
    return max(1, min(p.workers, len(p.seeds), cores // (p.threads * p.processes)))


def own_seeds(p: Any) -> list[int]:
    """Return the seeds in the order in which the notebook itself should work: its own share, then the workers'."""
    own = p.seeds[:: shares(p)]
    return [*own, *(seed for seed in p.seeds if seed not in own)]


def work(asked: context.Context, stage: str) -> None:
    """Make what one seed of a notebook needs.

    Args:
        asked: The seed's context, of the notebook's parameters; for 08, of a method that it judges.
        stage: The notebook.
    """
    p, seed = asked.params, asked.seed
    if stage in ARTIFACT:
        registry.maker(ARTIFACT[stage]).make(asked, p, seed)
    elif stage == "08_validity":
        context.choose(asked)
    elif stage == "04_gradts_correlation":
        from auxlearn.methods.gradts import importance_maker

        importance_maker.measure_all({seed: asked}, p)
    else:
        from auxlearn.training import training_cache

        _, plan = context.select(asked)
        training_cache.trained(plan, asked.suite, asked.progress)


def _trains(arm: parameters.MTL) -> bool:
    """Tell whether a method's choice rests on anything that is made once and kept."""
    method, options = arm.method, arm.options(arm.method)
    return bool(method.needs(Cell(arm, arm.seeds[0]), options)) or method.searches(options)


def main(argv: list[str]) -> int:
    """Work on the seeds that the command line names.

    Args:
        argv: The job's file and the seeds.

    Returns:
        0, or 1 where a seed cannot be worked on.
    """
    job = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    p = parameters.validate(job["stage"], job["params"], plug=False)
    upstream = [parameters.validate(stage, params, plug=False) for stage, params in job["upstream"]]
    suite = suites.load(p.suite, p.rows)
    seeds = [int(seed) for seed in argv[1:]]
    arms = [arm for arm in p.arms if _trains(arm)] if p.stage == "08_validity" else [p]
    for arm, seed in itertools.product(arms, seeds):
        try:
            work(context.Context(suite, arm, seed, upstream), p.stage)
        except InputError as error:  # the notebook meets it too, and shows it to a person
            print(f"seed {seed}: {error}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""AUTOSEM's stage 1 as a training: a bandit chooses what each round trains, one model goes through all of them.

A round is an epoch of the trainer, so that the log, the model and the optimiser are checkpointed together and an
interrupted search goes on with the same draws.
"""

from __future__ import annotations

from pathlib import Path

from auxlearn import seeding
from auxlearn.data import batching
from auxlearn.data.suites import Suite
from auxlearn.methods.autosem import bandits
from auxlearn.training import phases, train
from auxlearn.training.phases import Plan


def run(plan: Plan, suite: Suite, folder: Path | None = None, progress: train.Progress | None = None) -> train.Result:
    """`train.run` for a plan of which some phase has `rounds`.

    The history has a row a round: arm (the task's name), reward, alpha and beta [arms] after it, holdout (the primary's
    score); round 0 is the primary's score before any training.
    """
    return _Player(plan, suite, folder, progress or (lambda message: None)).run()


def bandit(plan: Plan, phase: phases.Phase) -> bandits.Bandit:
    """The phase's bandit before its first round; arm 0 is the primary."""
    seed = seeding.derive(plan.seeds["order"] if phase.seed is None else phase.seed, phase.name, "bandit")
    return bandits.Bandit(len(phases.arms(phase, plan.primary)), phase.rounds.decay, seed)


def replayed(plan: Plan, phase: phases.Phase, history: list[dict]) -> bandits.Bandit:
    """The bandit as it was after the rounds of a finished training's history."""
    made, names = bandit(plan, phase), phases.arms(phase, plan.primary)
    for row in history:
        if row["phase"] == phase.name and row["epoch"]:
            made.update(names.index(row["arm"]), row["reward"])
    return made


class _Player(train.Trainer):
    def _epochs(self, running: train.Running) -> None:
        phase = running.phase
        if phase.rounds is None:
            return super()._epochs(running)
        names, rule = phases.arms(phase, self.plan.primary), phase.rounds.rule
        lengths = {name: e.lengths for name, e in running.data.items()}
        order = self._seed(phase, "order")
        mine = [row for row in self.history if row["phase"] == phase.name]
        if not mine:
            start = {"phase": phase.name, "epoch": 0, "holdout": self._judge(phase, running.ledger)}
            self.history.append(start)
            mine = [start]
        log = [
            {"round": row["epoch"] - 1, "arm": names.index(row["arm"]), "score": row["holdout"],
             "reward": row["reward"], "alpha": row["alpha"], "beta": row["beta"]}
            for row in mine[1:]
        ]  # fmt: skip

        def step(arm: int) -> float:
            epoch, task = len(log), names[arm]
            named = [task] * phase.rounds.batches
            rng = seeding.rng(order, phase.name, epoch)
            batches = [[b] for b in batching.in_order(named, lengths, phase.recipe.batch_size, rng)]
            row = self._close_epoch(running, epoch, batches, self._train(running, epoch, batches))
            row["arm"] = task
            return row["holdout"]

        def saved() -> None:
            self.history[-1] |= {name: log[-1][name] for name in ("reward", "alpha", "beta")}
            self.checkpoint_if_due(running, len(log) - 1)

        bandits.rounds(
            bandit(self.plan, phase), step, phase.epochs, log, rule=rule, start=mine[0]["holdout"], saved=saved
        )  # fmt: skip
        return None

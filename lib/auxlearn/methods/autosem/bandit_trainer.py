"""Train AUTOSEM's stage 1: a bandit chooses what each round trains, and one model goes through all rounds.

A round is an epoch of the trainer, so that the log, the model and the optimiser are checkpointed together and an
interrupted search goes on with the same draws.
"""

from __future__ import annotations

from pathlib import Path

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.methods.autosem import bandits
from auxlearn.training import drawing, phases, train
from auxlearn.training.phases import Plan


def run(plan: Plan, suite: Suite, folder: Path | None = None, progress: train.Progress | None = None) -> train.Result:
    """Train a plan of which some phase has `rounds`, as `train.run` does.

    Args:
        plan: The plan.
        suite: The suite with every task's rows.
        folder: Where checkpoints go; None for none.
        progress: Called with a line of text whenever something has been done.

    Returns:
        A result whose history has one row per round: arm (the task's name), reward, alpha and beta [A] after it,
        holdout (the primary's score). Round 0 is the primary's score before any training.
    """
    return _Player(plan, suite, folder, progress or (lambda message: None)).run()


def bandit(plan: Plan, phase: phases.Phase) -> bandits.Bandit:
    """Return the phase's bandit before its first round; arm 0 is the primary."""
    seed = seeding.derive(phases.seed(plan, phase, "order"), phase.name, "bandit")
    assert phase.rounds is not None, "asked only of a phase with rounds"
    return bandits.Bandit(len(phases.arms(phase, plan.primary)), phase.rounds.decay, seed)


def replayed(plan: Plan, phase: phases.Phase, history: list[dict]) -> bandits.Bandit:
    """Return the bandit as it was after the rounds of a finished training.

    Args:
        plan: The plan that was trained.
        phase: Its phase with `rounds`.
        history: The rows of the training's history.
    """
    player, names = bandit(plan, phase), phases.arms(phase, plan.primary)
    for row in history:
        if row["phase"] == phase.name and row["epoch"]:
            player.update(names.index(row["arm"]), row["reward"])
    return player


class _Player(train.Trainer):
    def _epochs(self, running: train.Running) -> None:
        phase, rounds = running.phase, running.phase.rounds
        if rounds is None:
            return super()._epochs(running)
        names, rule = phases.arms(phase, self.plan.primary), rounds.rule
        lengths = {name: e.lengths for name, e in running.data.items()}
        played = [row for row in self.history if row["phase"] == phase.name]
        if not played:
            start = {"phase": phase.name, "epoch": 0, "holdout": self._judge(phase, running.ledger)}
            self.history.append(start)
            played = [start]
        log = [
            {"round": row["epoch"] - 1, "arm": names.index(row["arm"]), "score": row["holdout"],
             "reward": row["reward"], "alpha": row["alpha"], "beta": row["beta"]}
            for row in played[1:]
        ]  # fmt: skip

        def step(arm: int) -> float:
            epoch, task = len(log), names[arm]
            batches = drawing.round_of(self.plan, phase, lengths, task, epoch)
            row = self._close_epoch(running, epoch, batches, self._train(running, epoch, batches))
            row["arm"] = task
            return row["holdout"]

        def saved() -> None:
            self.history[-1] |= {name: log[-1][name] for name in ("reward", "alpha", "beta")}
            self.checkpoint_if_due(running, len(log) - 1)

        bandits.rounds(
            bandit(self.plan, phase), step, phase.epochs, log, rule=rule, start=played[0]["holdout"], saved=saved
        )  # fmt: skip
        return None

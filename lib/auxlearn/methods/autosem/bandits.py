"""Ask a bandit which auxiliary tasks help, while one model trains: AUTOSEM stage 1 (Guo et al., NAACL 2019).

Arms are all tasks, the primary among them. A round trains an arm's task for some mini-batches and scores the primary on
held-out rows; the arm's Beta posterior counts whether that score held up. Facts about the authors' code are from
github.com/HanGuo97/AutoSeM (multitask/multitask_autoMR_model.py), which holds neither the rule that turns utilities
into a set of tasks nor the constants. `rule="paper"` is that code, `rule="corrected"` (the default) what we do instead.
By either rule the primary is scored by its own metric and all rounds are played: the authors' code scores accuracy
whatever the task, and stops early once dev no longer rises. Its decay is 0.3, `bandit_decay` here. Stage 2 is
`ratio_search`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableSequence, Sequence
from operator import index
from typing import Any, Literal

import numpy as np

from auxlearn import seeding
from auxlearn.errors import InputError
from auxlearn.methods import ranking

Rule = Literal["corrected", "paper"]


class Bandit:
    """A bandit over tasks: Beta-Bernoulli Thompson sampling whose evidence fades.

    Every arm starts at the prior. With decay, an arm that always pays stops at alpha = prior + 1 / decay, so that 0.3
    lets no utility exceed 0.81 and forgets in about ten rounds: see `select`.

    Args:
        n_arms: The number of arms, A.
        decay: In [0, 1): before each update, every arm moves that share of its way back to the prior. 0 is a stationary
            bandit; the authors' default is 0.3.
        seed: The seed of the draws.
        prior: (alpha, beta), both above 0.

    Raises:
        InputError: An argument is outside its range.
    """

    def __init__(self, n_arms: int, decay: float = 0.0, seed: int = 0, prior: tuple[float, float] = (1.0, 1.0)):
        if _integer(n_arms, "n_arms") < 1:
            raise InputError(f"n_arms: {n_arms} arms; a bandit needs at least one")
        if not 0 <= decay < 1:
            raise InputError(f"decay: {decay} is outside [0, 1)")
        if len(prior) != 2 or not all(0 < p < math.inf for p in prior):
            raise InputError(f"prior: {prior} is not two positive numbers (alpha, beta)")
        self.n_arms, self.decay, self.seed = index(n_arms), float(decay), index(seed)
        self.prior = (float(prior[0]), float(prior[1]))
        self.history: list[dict[str, Any]] = []  # one row per update: arm, reward, alpha [A], beta [A] after it
        self._alpha, self._beta = np.full(self.n_arms, self.prior[0]), np.full(self.n_arms, self.prior[1])
        self._rng = seeding.rng(self.seed, "bandit")

    def choose(self) -> int:
        """Draw once from every arm's posterior and return the arm with the highest draw, ties at random."""
        draws = self._rng.beta(self._alpha, self._beta)
        best = np.flatnonzero(draws == draws.max())
        return int(best[0] if len(best) == 1 else self._rng.choice(best))

    def update(self, arm: int, reward: float) -> None:
        """Decay all arms, then credit one: alpha += reward, beta += 1 - reward.

        Args:
            arm: The arm that was played.
            reward: 0, 1 or a probability in [0, 1] (the authors' code refuses anything between 0 and 1).

        Raises:
            InputError: There is no such arm, or the reward is outside [0, 1].
        """
        if not 0 <= _integer(arm, "arm") < self.n_arms:
            raise InputError(f"arm: {arm} is not one of the {self.n_arms} arms, 0 to {self.n_arms - 1}")
        if not 0 <= reward <= 1:  # NaN is not either
            raise InputError(f"reward: {reward} is not in [0, 1]")
        self._alpha = (1 - self.decay) * self._alpha + self.decay * self.prior[0]
        self._beta = (1 - self.decay) * self._beta + self.decay * self.prior[1]
        self._alpha[arm] += reward
        self._beta[arm] += 1 - reward
        row = {"arm": int(arm), "reward": float(reward), "alpha": self._alpha.tolist(), "beta": self._beta.tolist()}
        self.history.append(row)

    @property
    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, beta), each float64 [A]; copies."""
        return self._alpha.copy(), self._beta.copy()

    @property
    def utilities(self) -> np.ndarray:
        """Posterior mean of each arm, float64 [A]: the probability that a round of it does the primary no harm."""
        return self._alpha / (self._alpha + self._beta)

    def state(self) -> dict[str, Any]:
        """Return the whole bandit as JSON can hold it, with its generator.

        The authors' checkpoint leaves the generator out.
        """
        settings = {"n_arms": self.n_arms, "decay": self.decay, "seed": self.seed, "prior": list(self.prior)}
        history = [dict(row) for row in self.history]
        alpha, beta = self._alpha.tolist(), self._beta.tolist()
        return settings | {"alpha": alpha, "beta": beta, "rng": self._rng.bit_generator.state, "history": history}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Bandit:
        """Restore the bandit from which `state` was taken: it goes on with the same draws.

        Raises:
            InputError: It is not the state of a bandit.
        """
        try:
            bandit = cls(state["n_arms"], state["decay"], state["seed"], tuple(state["prior"]))
            bandit._alpha, bandit._beta = np.array(state["alpha"], float), np.array(state["beta"], float)
            bandit.history = [dict(row) for row in state["history"]]
            bandit._rng.bit_generator.state = state["rng"]
        except (KeyError, TypeError) as error:
            raise InputError(f"not the state of a bandit: {type(error).__name__} {error}") from error
        if not bandit._alpha.shape == bandit._beta.shape == (bandit.n_arms,):
            raise InputError(f"not the state of a bandit of {bandit.n_arms} arms: alpha or beta has another length")
        return bandit


def _integer(value: Any, name: str) -> int:
    try:
        return index(value)
    except TypeError:
        raise InputError(f"{name}: {value!r} is not a whole number") from None


def reward(
    score: float, earlier: Sequence[float], rule: Rule = "corrected", against: Literal["previous", "best"] = "previous"
) -> float:
    """Return what a round earns: 1 if the primary's score beats the previous one (or the best so far), else 0.

    Args:
        score: The primary's held-out score after the round.
        earlier: The scores before it, oldest first.
        rule: "paper" (`_binary_prediction_gain_v3`) earns 1 if score >= previous, whichever arm made that one, and the
            score before the first is 0; so a model stuck on a plateau, or on a small held-out set where scores tie,
            pays every arm, and the first arm is paid for any score. "corrected": a tie, or a score with nothing before
            it, says nothing and earns 0.5.
        against: "previous", or "best", which is ours as well: one lucky score does not punish the next arm, but rewards
            become rare late in training.

    Returns:
        0, 0.5 or 1.

    Raises:
        InputError: A score is not finite, or `rule` or `against` is unknown.
    """
    if not all(map(math.isfinite, (score, *earlier))):
        raise InputError(f"score: {score} after {list(earlier)}; a reward needs finite scores")
    if against not in ("previous", "best"):
        raise InputError(f"against: {against!r} is neither 'previous' nor 'best'")
    if not earlier:
        return float(score >= 0) if _paper(rule) else 0.5
    reference = max(earlier) if against == "best" else earlier[-1]
    if _paper(rule):
        return float(score >= reference)
    return 0.5 if score == reference else float(score > reference)


def _paper(rule: str) -> bool:
    if rule not in ("corrected", "paper"):
        raise InputError(f"rule: {rule!r} is neither 'corrected' nor 'paper'")
    return rule == "paper"


def rounds(
    bandit: Bandit, step: Callable[[int], float], n_rounds: int, log: MutableSequence[dict[str, Any]], *,
    rule: Rule = "corrected", against: Literal["previous", "best"] = "previous", start: float | None = None,
    first: int | None = 0, saved: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Play until `log` has `n_rounds` rows: choose an arm, `score = step(arm)`, reward it, append a JSON-able row.

    A row has round, arm, score, reward, and alpha and beta [A] after it. To resume, pass the log of an interrupted run
    and a fresh bandit with the same settings, with the model as it was after the log's last row: the rounds played are
    replayed without training, draws included, and what follows is what would have followed.

    Args:
        bandit: The bandit, fresh or with as many rounds played as the log has.
        step: Trains a round of the arm's task on the *one* model that all rounds share, and returns the primary's score
            on held-out rows (never on those that results are reported on).
        n_rounds: The number of rounds in all.
        log: The rows so far; new ones are appended.
        rule: "corrected" or "paper" (see `reward`).
        against: "previous" or "best" (see `reward`).
        start: The score before any training; "paper" takes 0 instead.
        first: The arm of the first round: the primary in the authors' code, kept because its head starts random. None
            lets the bandit choose.
        saved: Called after each round, to write log and model together.

    Raises:
        InputError: This bandit with these settings cannot have made the log, a score is not finite, or `first` is no
            arm.
    """
    before = [start] if start is not None and not _paper(rule) else []

    def paid(score: float) -> float:
        return reward(score, [*before, *(row["score"] for row in log[: len(bandit.history)])], rule, against)

    def next_arm() -> int:
        return first if first is not None and not bandit.history else bandit.choose()

    if first is not None and not 0 <= first < bandit.n_arms:
        raise InputError(f"first: {first} is not one of the {bandit.n_arms} arms")
    if len(bandit.history) not in (0, len(log)):
        raise InputError(f"log: {len(log)} rounds, but the bandit has played {len(bandit.history)}; pass a fresh one")
    for number, row in enumerate([] if bandit.history else log):
        if next_arm() != row["arm"] or paid(row["score"]) != row["reward"]:
            raise InputError(f"log: round {number} is not what this bandit plays; its seed or settings have changed")
        bandit.update(row["arm"], row["reward"])
    while len(log) < n_rounds:
        arm = next_arm()
        score = float(step(arm))
        if not math.isfinite(score):
            raise InputError(f"round {len(log)}: arm {arm} left the primary with a score of {score}")
        bandit.update(arm, paid(score))
        log.append({"round": len(log), "score": score, **bandit.history[-1]})
        if saved:
            saved()


def mean_utilities(bandit: Bandit, burn_in: float = 0.25) -> np.ndarray:
    """Average the utilities over the rounds after the first `burn_in` share of them.

    Args:
        bandit: A bandit, usually one that has finished.
        burn_in: The share of rounds to leave out, in [0, 1).

    Returns:
        float64 [A].

    Raises:
        InputError: `burn_in` is outside [0, 1).
    """
    if not 0 <= burn_in < 1:
        raise InputError(f"burn_in: {burn_in} is outside [0, 1)")
    if not bandit.history:
        return bandit.utilities
    rows = bandit.history[int(burn_in * len(bandit.history)) :]
    alpha, beta = (np.array([row[name] for row in rows]) for name in ("alpha", "beta"))
    return (alpha / (alpha + beta)).mean(0)


def select(
    bandit: Bandit, primary: int = 0, most: int = 3, rule: Rule = "corrected", threshold: float = 0.5,
    burn_in: float = 0.25, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Return the auxiliary arms to keep, best first, ties by seeded hash.

    Args:
        bandit: A bandit that has finished.
        primary: The primary's arm, which is never kept.
        most: The highest number of arms to keep.
        rule: "paper": the `most` auxiliaries with the highest final utility, whatever it is. (The cut is in no released
            code; a summary of the paper says top K, and the sets that GradTS's repository lists for it have up to
            three.) With the default decay that snapshot reflects little but the last ten rounds, and even useless tasks
            are kept. "corrected": utilities averaged over rounds, and only those above `threshold`, which may be none.
        threshold: Under "corrected", 0.5 by default, the prior's mean: more likely to help than not.
        burn_in: Under "corrected", the share of rounds that the average leaves out.
        seed: The seed of the tie-breaking hash.

    Returns:
        int64, at most `most` arms.

    Raises:
        InputError: `primary` is no arm, or `most`, `rule` or `burn_in` is impossible.
    """
    if not 0 <= primary < bandit.n_arms:
        raise InputError(f"primary: {primary} is not one of the {bandit.n_arms} arms")
    if most < 0:
        raise InputError(f"most: {most} auxiliaries cannot be kept")
    utilities = bandit.utilities if _paper(rule) else mean_utilities(bandit, burn_in)
    eligible = np.arange(bandit.n_arms) != primary
    if not _paper(rule):
        eligible &= utilities > threshold
    return ranking.top_n(utilities, min(most, int(eligible.sum())), seed, eligible)


def simulate(bandit: Bandit, chances: np.ndarray, seed: int = 0) -> np.ndarray:
    """Play a bandit against known chances of a reward of 1.

    Args:
        bandit: The bandit to play; its history grows.
        chances: float [rounds, A].
        seed: The seed of the rewards.

    Returns:
        The arms it chose, int64 [rounds].

    Raises:
        InputError: The chances do not fit the arms.
    """
    chances, rng = np.asarray(chances, float), seeding.rng(seed, "simulate")
    if chances.ndim != 2 or chances.shape[1] != bandit.n_arms:
        raise InputError(f"chances: shape {chances.shape} is not [rounds, {bandit.n_arms}]")
    arms = np.zeros(len(chances), np.int64)
    for number, row in enumerate(chances):
        arms[number] = bandit.choose()
        bandit.update(arms[number], float(rng.random() < row[arms[number]]))
    return arms

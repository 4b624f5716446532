"""Search how much of each task to train on: AUTOSEM stage 2 (Guo et al., NAACL 2019).

`Search` proposes mixing ratios, one training each, from a Gaussian process and a portfolio of acquisition functions;
`mixing.schedule` turns ratios into the task of every step. Ratios are non-negative integers [K] as in the paper, the
primary first. Stage 2 was not released (run_MTL.py points to scikit-optimize), so that "paper" is scikit-optimize's
gp_hedge with its defaults over the ratios that the authors' code admits, and "corrected" (the default) what we do
instead. A search costs as many trainings as it has trials (about 20 in the paper), each scored on held-out rows of the
primary.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from operator import index
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr  # scipy.stats takes half a second to import

from auxlearn import seeding
from auxlearn.errors import InputError

Rule = Literal["corrected", "paper"]
PORTFOLIO = ("EI", "PI", "UCB")
XI, KAPPA = 0.01, 1.96  # scikit-optimize's defaults: least improvement of EI and PI, width of UCB
CANDIDATES = 2000


class Search:
    """Optimise mixing ratios by a Gaussian process: `suggest()`, train with them, `observe(ratios, score)`, and again.

    What differs under "corrected", and why:
    - The process sees shares, ratios / sum, under one length scale, and candidates are in lowest terms: with an equal
      budget (2, 2) is (1, 1). "paper": the integers, with one length scale each.
    - Every mixture trains the primary; single-task (1, 0, ...) is the first trial and the even mix the second (unless
      trials of one's own were those). "paper": any two or more tasks (`_mr_compatible`), even without the primary; ten
      random trials first.
    - Improvements and GP-Hedge's gains are in standard deviations of the scores. "paper": in units of the score; gains
      of accuracies then hardly differ and the portfolio is drawn from almost evenly.
    - The best is the highest posterior mean among those tried, both for EI and PI and as the result. "paper": the
      highest score, so the luckiest of noisy trainings.
    Under both rules ours maximises acquisitions over some 2,000 random candidates and the neighbours of the best, where
    scikit-optimize adds L-BFGS on real values. The best of many noisy scores is biased upwards: train it anew.

    `log` holds one JSON-able row per trial: ratios, score, by (design, EI, PI, UCB or given), proposals [3][K] and
    gains [3] of the portfolio, search (the settings). A suggestion depends on settings and log alone, so that
    `Search(..., log=rows)` goes on as if never interrupted.

    Args:
        n_tasks: The number of tasks, K, the primary first; at least 2.
        seed: The seed of designs, candidates and the portfolio.
        highest: The highest ratio.
        n_initial: Trials before the process is used; None for 10 ("paper") or K + 2.
        rule: "corrected" or "paper".
        log: Rows of an interrupted search with the same settings.

    Raises:
        InputError: An argument is outside its range, or the log is of another search.
    """

    def __init__(
        self, n_tasks: int, seed: int = 0, highest: int = 20, n_initial: int | None = None, rule: Rule = "corrected",
        log: Sequence[dict[str, Any]] = (),
    ):  # fmt: skip
        if rule not in ("corrected", "paper"):
            raise InputError(f"rule: {rule!r} is neither 'corrected' nor 'paper'")
        if n_tasks < 2 or highest < 1:
            raise InputError(f"n_tasks {n_tasks}, highest {highest}: needs at least 2 tasks and ratios up to 1")
        if n_initial is None:
            n_initial = 10 if rule == "paper" else n_tasks + 2
        if n_initial < 2:
            raise InputError(f"n_initial: {n_initial} trials are too few to fit anything to; at least 2")
        self.n_tasks, self.seed, self.highest, self.n_initial = n_tasks, seed, highest, n_initial
        self.paper = rule == "paper"
        self.settings = {"n_tasks": n_tasks, "seed": seed, "highest": highest, "n_initial": n_initial, "rule": rule}
        self.log: list[dict[str, Any]] = []
        for number, row in enumerate(log):
            if row.get("search") != self.settings:
                raise InputError(f"log: trial {number} is of another search, {row.get('search')}, not {self.settings}")
            self._checked(row["ratios"])
            self.log.append(dict(row))
        self._pending: dict[str, Any] | None = None
        self._fitted: tuple[int, _Process] | None = None

    def suggest(self) -> list[int]:
        """Return the ratios to try next, int [K]; the same until a trial, of these or others, is observed."""
        if self._pending is None:
            rng = seeding.rng(self.seed, "ratios", len(self.log))
            self._pending = self._design(rng) if len(self.log) < self.n_initial else self._acquire(rng)
        return list(self._pending["ratios"])

    def observe(self, ratios: Sequence[int], score: float) -> None:
        """Log a trial.

        Args:
            ratios: Ratios [K], suggested or of one's own.
            score: The score they led to; higher is better.

        Raises:
            InputError: The ratios are not admitted, or the score is not finite.
        """
        ratios = self._checked(ratios)
        if not np.isfinite(score):
            raise InputError(f"score: {score} of ratios {ratios} is not a finite number")
        suggested = self.suggest() == ratios  # called anew, as a search just resumed has not suggested yet
        how: dict[str, Any] | None = self._pending if suggested else {"by": "given", "proposals": [], "gains": []}
        assert how is not None, "`suggest` has set it"
        self.log.append({**how, "ratios": ratios, "score": float(score), "search": dict(self.settings)})
        self._pending = None

    def best(self) -> list[int]:
        """Return the best ratios among those tried, int [K]; the first of equals.

        Raises:
            InputError: No trial has been observed.
        """
        if not self.log:
            raise InputError("no trial has been observed yet; there is no best")
        if self.paper or len(self.log) < 2:
            return list(self.log[int(np.argmax([row["score"] for row in self.log]))]["ratios"])
        means = self._fit().mean(self._tried)
        return self._tried[int(np.argmax(means))].tolist()

    @property
    def _tried(self) -> np.ndarray:
        return np.array([row["ratios"] for row in self.log], np.int64).reshape(-1, self.n_tasks)

    def _checked(self, ratios: Sequence[int]) -> list[int]:
        try:
            out = [index(r) for r in ratios]
        except TypeError:
            raise InputError(f"ratios: {ratios!r} are not whole numbers") from None
        if len(out) != self.n_tasks or min(out) < 0 or max(out) > self.highest:
            raise InputError(f"ratios: {out} are not {self.n_tasks} numbers from 0 to {self.highest}")
        if not self._admits(np.array([out]))[0]:
            rule = "two or more tasks must have some" if self.paper else "the first, the primary's, must be above 0"
            raise InputError(f"ratios: {out}; {rule}")
        return out

    def _admits(self, ratios: np.ndarray) -> np.ndarray:
        """Return which rows of [N, K] are allowed; bool [N]."""
        return (ratios > 0).sum(1) >= 2 if self.paper else ratios[:, 0] > 0

    def _candidates(self, rng: np.random.Generator) -> np.ndarray:
        """Return admitted ratios, int64 [N, K], distinct; under "corrected" untried ones where there are any."""
        drawn = rng.integers(0, self.highest + 1, (CANDIDATES, self.n_tasks))
        if not self.paper:  # whether a task is needed at all is half of the question
            drawn[::2][rng.random(drawn[::2].shape) < 1 / 3] = 0
        if self.log:
            near = np.array(self.best()) + np.concatenate([np.eye(self.n_tasks), -np.eye(self.n_tasks)]).astype(int)
            drawn = np.concatenate([drawn, near.clip(0, self.highest)])
        drawn = drawn[self._admits(drawn)]
        if self.paper:
            return np.unique(drawn, axis=0)
        drawn = np.unique(drawn // np.gcd.reduce(drawn, axis=1)[:, None], axis=0)
        tried = self._tried // np.gcd.reduce(self._tried, axis=1)[:, None]
        new = ~(drawn[:, None] == tried[None]).all(2).any(1)
        return drawn[new] if new.any() else drawn

    def _design(self, rng: np.random.Generator) -> dict[str, Any]:
        tried = (self._tried // np.gcd.reduce(self._tried, axis=1)[:, None]).tolist()
        first = [] if self.paper else [[1] + [others] * (self.n_tasks - 1) for others in (0, 1)]
        left = [ratios for ratios in first if ratios not in tried]
        ratios = left[0] if left else rng.choice(self._candidates(rng)).tolist()
        return {"ratios": ratios, "by": "design", "proposals": [], "gains": []}

    def _fit(self) -> _Process:
        if self._fitted is None or self._fitted[0] != len(self.log):
            scores = [row["score"] for row in self.log]
            self._fitted = len(self.log), _Process(self._tried, scores, self.paper, self.highest)
        return self._fitted[1]

    def _acquire(self, rng: np.random.Generator) -> dict[str, Any]:
        process, pool = self._fit(), self._candidates(rng)
        proposals = [pool[int(np.argmax(values))].tolist() for values in process.acquisitions(pool)]
        gains = np.zeros(len(PORTFOLIO))
        earlier = [row for row in self.log if row["proposals"]]
        if earlier:  # Hoffman et al. (UAI 2011): each function gains what the process now expects of its last proposal
            earned = process.mean(np.array(earlier[-1]["proposals"]))
            gains = np.array(earlier[-1]["gains"]) + (earned * process.spread if self.paper else earned)
        odds = np.exp(gains - gains.max())
        chosen = int(rng.choice(len(PORTFOLIO), p=odds / odds.sum()))
        how = {"by": PORTFOLIO[chosen], "proposals": proposals, "gains": gains.tolist()}
        return {"ratios": proposals[chosen], **how}


class _Process:
    """A Gaussian process (Matern 5/2, noise) of the standardised score over ratios [N, K]."""

    def __init__(self, ratios: np.ndarray, scores: Sequence[float], paper: bool, highest: int):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self.paper, self.highest = paper, highest
        y = np.asarray(scores, float)
        self.spread = float(y.std()) or 1.0
        self.y = (y - y.mean()) / self.spread
        scale = np.ones(ratios.shape[1]) if paper else 1.0
        kernel = ConstantKernel(1.0, (0.01, 1000.0)) * Matern(scale, (0.01, 100.0), nu=2.5) + WhiteKernel(0.1)
        self.model = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
        with warnings.catch_warnings():  # a length scale at its bound is no news with ten trials
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self._features(ratios), self.y)
        self.incumbent = float(self.y.max() if paper else self.mean(ratios).max())

    def _features(self, ratios: np.ndarray) -> np.ndarray:
        return ratios / self.highest if self.paper else ratios / ratios.sum(1, keepdims=True)

    def mean(self, ratios: np.ndarray) -> np.ndarray:
        """Return the posterior mean in standard deviations of the scores, float64 [N]."""
        return self.model.predict(self._features(ratios))

    def acquisitions(self, ratios: np.ndarray) -> np.ndarray:
        """Return EI, PI and UCB of each row, higher is better; float64 [3, N]."""
        mean, std = self.model.predict(self._features(ratios), return_std=True)
        # scikit-learn counts the kernel's noise into the deviation; what is uncertain here is the score's mean.
        std = np.sqrt(np.maximum(std**2 - self.model.kernel_.k2.noise_level, 1e-12))
        gain = mean - self.incumbent - (XI / self.spread if self.paper else XI)
        z = gain / std
        below, density = ndtr(z), np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return np.stack([gain * below + std * density, below, mean + KAPPA * std])

"""FastMTL's parameters: those of the proxy (02) and of the ranking (03)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from auxlearn.methods.base import Options
from auxlearn.training.shared_parameters import Common, Seeds, Trained, distinct

Layers = Annotated[int, Field(ge=0)] | Literal["any"]
Rows = Annotated[int, Field(ge=2)] | Literal["any"]
# What makes proxies cheaper than whole ones: as options, and as parameters of 02.
CHEAPER = {"proxy_layers": "proxy_layers", "frozen_layers": "frozen_layers", "sample_rows": "proxy_rows"}


class TDProxy(Trained):
    """Parameters of the proxies, one or two for each of `seeds`.

    A proxy sees every task of the suite, so that one serves any primary and any choice of auxiliaries.
    """

    stage = "02_td_proxy"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries"}
    later = {"proxy_layers": 0, "frozen_layers": 0}

    seeds: Seeds = [0, 1]
    """each has proxies of its own"""
    discriminator: Literal["bce", "ce"] = "bce"
    """loss of the task discriminator: a sigmoid per task, or one softmax"""
    proxies: Literal["crossfit", "one"] = "crossfit"
    """two on disjoint halves of the pool, each scoring the other; or the authors' one, whose rows leave the pool"""
    proxy_rows: int = Field(60, ge=2)
    """rows of each task that a proxy is trained on"""
    watch_rows: int = Field(40, ge=2)
    """rows of each task on which the discriminator is watched"""
    epochs: int = Field(3, ge=1)
    """epochs of a proxy"""
    disc_weight: float = Field(1.0, gt=0)
    """weight of the discriminator's loss beside the task losses"""
    proxy_layers: int = Field(0, ge=0)
    """first layers of the encoder that a proxy is made of, for training and scoring alike (0: all)"""
    frozen_layers: int = Field(0, ge=0)
    """first layers, embeddings with them, that a proxy's training leaves as they are (0: all is trained)"""
    map_rows: int = Field(40, ge=2)
    """rows of each task in the map of the features"""
    map_seeds: list[int] = [0]
    """seeds for which the map is drawn; it trains a proxy without discriminator"""


class Ranking(Common):
    """Parameters of the ranking, one for each of `seeds`.

    `cascade_sample` and `exit_layers` change no selection: they say which cheap scorers stand beside full scoring. A
    pass over the pool that reads the proxy's states costs as many layers as the last of `exit_layers`.
    """

    stage = "03_ranking"
    not_in_key = Common.not_in_key | {"others"}
    later = dict.fromkeys(CHEAPER, "any")

    seeds: Seeds = [0, 1]
    """each ranks by proxies of its own"""
    discriminator: Literal["bce", "ce"] = "bce"
    """whose discriminator ranks"""
    score: Literal["auto", "sigmoid", "softmax", "margin"] = "auto"
    """auto is what fits the loss: sigmoid for bce, softmax for ce (the authors take sigmoid for both)"""
    proxies: Literal["any", "crossfit", "one"] = "any"
    """which of 02's proxies rank, where it has both; any takes those that it has"""
    proxy_layers: Layers = "any"
    """layers of the proxies that rank (0: all); any takes those that 02 has"""
    frozen_layers: Layers = "any"
    """layers that their training left as they were (0: none); any takes what 02 has"""
    sample_rows: Rows = "any"
    """rows of each task that they are trained on (02's `proxy_rows`); any takes what 02 has"""
    rule: Literal["global", "quota", "calibrated"] = "global"
    """one ranking over all tasks, each task its share of the pool, or scores standardised within a task"""
    n: int = Field(200, ge=1)
    """rows that are chosen"""
    keep_leaks: bool = False
    """leave in rows that also occur in dev or test"""
    cascade_sample: float = Field(0.02, gt=0, lt=1)
    """share of the pool that some cheap scorers are fitted to"""
    exit_layers: Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(distinct)] = []
    """layers of the proxy after which cheap scorers read its states ([]: no cheap scorer is tried)"""
    others: Annotated[list[str], AfterValidator(distinct)] = []
    """methods whose choice of rows, by their defaults, is shown beside this one, such as bm25 or rds; enters no key"""

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the runs that this one reads: 02 for each seed, with the same discriminator and leaks."""
        wanted = self.shared("discriminator", "keep_leaks") | self.proxies_wanted()
        return [("02_td_proxy", wanted | {"seed": seed}) for seed in self.seeds]

    def proxies_wanted(self) -> dict[str, Any]:
        """Return what the proxies must be, as parameters of 02."""
        names = {"proxies": "proxies"} | CHEAPER
        return {of: value for name, of in names.items() if (value := getattr(self, name)) != "any"}

    def score_kind(self) -> Literal["sigmoid", "softmax", "margin"]:
        """Return the score that is taken, "auto" decided."""
        if self.score != "auto":
            return self.score
        return "sigmoid" if self.discriminator == "bce" else "softmax"


class RankedOptions(Options):
    """Options of the methods that take the first rows of a ranking."""

    later = dict.fromkeys(CHEAPER, "any")

    proxies: Literal["any", "crossfit", "one"] = "any"
    """whose ranking: of two proxies that score each other's rows, of the authors' one, or of those that 02 has"""
    score: Literal["any", "sigmoid", "softmax", "margin"] = "any"
    """by which score; the authors take sigmoid for both losses, any takes what 03 has"""
    proxy_layers: Layers = "any"
    """whose ranking: of proxies of so many layers of the encoder (0: all), or of those that 02 has"""
    frozen_layers: Layers = "any"
    """whose ranking: of proxies trained above so many layers (0: whole), or of those that 02 has"""
    sample_rows: Rows = "any"
    """whose ranking: of proxies trained on so many rows of each task, or of those that 02 has"""

    def wanted(self) -> dict[str, Any]:
        """Return what the ranking must be, as parameters of 03."""
        return {name: value for name, value in self.model_dump().items() if value != "any"}

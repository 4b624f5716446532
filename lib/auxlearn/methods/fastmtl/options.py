"""FastMTL's parameters: those of the proxy (02) and of the ranking (03)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from auxlearn.training.shared_parameters import Common, Trained, distinct


class TDProxy(Trained):
    """Parameters of the proxy.

    The proxy sees every task of the suite, so that one serves any primary and any choice of auxiliaries.

    `proxies` "crossfit": two proxies on disjoint halves of the pool, each scoring the half that it was not drawn from,
    so that every row is scored and none by a proxy that has seen it; "one": the authors' single proxy, whose rows then
    leave the pool. `map_rows` rows per task are drawn into a map of the features, beside those of a proxy without
    discriminator, for the seeds in `map_seeds`.
    """

    stage = "02_td_proxy"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries"}

    seed: int = Field(0, ge=0)
    discriminator: Literal["bce", "ce"] = "bce"
    proxies: Literal["crossfit", "one"] = "crossfit"
    proxy_rows: int = Field(60, ge=2)
    watch_rows: int = Field(40, ge=2)
    epochs: int = Field(3, ge=1)
    disc_weight: float = Field(1.0, gt=0)
    map_rows: int = Field(40, ge=2)
    map_seeds: list[int] = [0]


class Ranking(Common):
    """Parameters of the ranking.

    `cascade_sample` and `exit_layers` change no selection: they say which cheap scorers stand beside full scoring. Some
    are fitted to that share of the pool (`ridge_student.sample`), and some read the proxy's states after these of its
    layers (`early_exit`), which takes a pass over the pool by as many layers. "auto" is the first layer at smoke size
    and no layer at other sizes: for an encoder of six layers that pass costs a sixth of scoring.
    """

    stage = "03_ranking"

    seed: int = Field(0, ge=0)
    discriminator: Literal["bce", "ce"] = "bce"
    score: Literal["auto", "sigmoid", "softmax", "margin"] = "auto"
    rule: Literal["global", "quota", "calibrated"] = "global"
    n: int = Field(200, ge=1)
    keep_leaks: bool = False
    cascade_sample: float = Field(0.02, gt=0, lt=1)
    exit_layers: Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(distinct)] | Literal["auto"] = "auto"

    def resolved(self, elsewhere: bool = False) -> Self:
        """Resolve the parameters as `Common.resolved` does, and decide `exit_layers`."""
        p = super().resolved(elsewhere)
        auto: list[int] = [1] if self.size == "smoke" else []
        return p.model_copy(update={"exit_layers": auto if self.exit_layers == "auto" else self.exit_layers})

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the run that this one reads: 02 with the same seed, discriminator and leaks."""
        return [("02_td_proxy", self._shared("seed", "discriminator", "keep_leaks"))]

    def score_kind(self) -> Literal["sigmoid", "softmax", "margin"]:
        """Return the score, where "auto" is the right one for the loss: sigmoid for BCE, softmax for CE.

        The authors use sigmoid for both.
        """
        if self.score != "auto":
            return self.score
        return "sigmoid" if self.discriminator == "bce" else "softmax"

"""Arms for paper_planted.yaml: each method by its authors' rules, and each switch alone, beside the corrected."""

from dataclasses import replace

from auxlearn.methods.controls import Random
from auxlearn.methods.registry import register, variant

# FastMTL: one proxy, whose own rows leave the pool, and a sigmoid of the softmax discriminator's logit.
variant("td_ce_paper", "td_ce", "td_ce by the authors' rules", proxies="one", score="sigmoid")
variant("td_ce_one", "td_ce", proxies="one", score="softmax")
variant("td_ce_sigmoid", "td_ce", proxies="crossfit", score="sigmoid")

# GradTS: importance by columns of key and value weights; trials begin with one task and compare the best state of a
# set with the last one of the set before.
variant("gradts_trial_paper", "gradts_trial", "trial by the authors' rules", definition="kv_columns", trial_rule="code")
variant("gradts_trial_columns", "gradts_trial", definition="kv_columns")
variant("gradts_trial_code", "gradts_trial", trial_rule="code")

# AUTOSEM: the bandit's rule and its faster forgetting, and the search's rule with its ten random trials.
variant("autosem_paper", "autosem", "autosem by the authors' rules", autosem_rule="paper", bandit_decay=0.3)

# TAWT: all that `tawt_rule` says, and parts of it.
variant("tawt_joint_paper", "tawt_joint", "tawt_joint by the authors' rules", tawt_rule="paper")
variant("tawt_joint_noise", "tawt_joint", "tawt_joint without shrinkage", weight_tau=0.0)
variant("tawt_joint_scaled", "tawt_joint", combine="scaled_then_clipped")


# How an arm is trained is no option of its method: random rows, the same in each, trained by the authors' ways.


class Trained(Random):
    """Random rows, with parameters of training that differ from the other arms'."""

    family, contrasts = "random", ("random",)
    training: dict = {}

    def plan(self, context, cell, selection, options):
        """Plan the training with the arm's own parameters."""
        p = cell.params.model_copy(update=self.training)
        return super().plan(context, replace(cell, params=p), selection, options)


@register
class OnDev(Trained):
    """FastMTL's code keeps the epoch that is best on dev, where it is then scored."""

    name, title = "random_on_dev", "random rows, the best epoch on dev"
    training = {"choose": "dev", "looks": 0}


@register
class FixedSeeds(Trained):
    """FastMTL's code trains with seeds 84 and 42, whatever the proxy's."""

    name, title = "random_fixed", "random rows, trained with two fixed seeds"
    training = {"seed_policy": "fixed"}


@register
class Coasting(Trained):
    """The torch of the authors' code moves heads whose task a batch does not hold, by Adam's moments."""

    name, title = "random_coasts", "random rows, idle heads coast"
    training = {"idle_heads": "coasts"}

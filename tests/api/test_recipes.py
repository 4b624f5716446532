"""What a call does where it is not told is what the shipped studies do."""

import yaml

from auxlearn.api import recipes
from auxlearn.paths import PROJECT


def test_recipes_are_those_of_the_quickstart_and_the_starter():
    for recipe, file in ((recipes.TINY, "studies/quickstart.yaml"), (recipes.PRETRAINED, "starter.yaml")):
        study = yaml.safe_load((PROJECT / "params" / file).read_text())
        assert {stage: recipe.notebooks[stage] for stage in study["notebooks"]} == study["notebooks"]
        assert recipe.methods == study["methods"]
    assert recipes.of("tiny:2") is recipes.TINY
    assert recipes.of("minilm") is recipes.PRETRAINED

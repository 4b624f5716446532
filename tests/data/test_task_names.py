"""Names that a task may have."""

import re

import pytest

from auxlearn.data import task_names
from auxlearn.errors import InputError


def test_a_task_is_not_called_like_what_a_module_has_for_itself():
    """A model has a head per task by its name: PyTorch would refuse these, once all has been read."""
    from torch import nn

    own = {name for name in {*dir(nn.ModuleDict), *vars(nn.ModuleDict())} if re.fullmatch(r"[A-Za-z0-9_-]+", name)}
    assert [name for name in sorted(own) if not task_names.taken(name)] == []
    for name in ("type", "train", "values", "_apply"):
        with pytest.raises(InputError, match=f"a task is called '{name}', which a PyTorch module keeps for itself"):
            task_names.check_name(name)
    for name in ("types", "training_set", "Type", "sst2", "value"):
        task_names.check_name(name)
        nn.ModuleDict({name: nn.Identity()})

"""Names that no task may have: those of columns beside the tasks', and what a module of PyTorch keeps for itself."""

from __future__ import annotations

import re

from auxlearn.errors import InputError

NOT_NAMES = ("seed", "task", "row")  # of tasks: columns of tables that have a column per task beside them
# Of tasks: a model has a head per task by its name, and PyTorch keeps these for itself (one is from transformers).
MODULE_NAMES = frozenset({
    "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "clear",
    "compile", "cpu", "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer",
    "get_extra_state", "get_parameter", "get_submodule", "half", "ipu", "items", "keys", "load_state_dict",
    "modules", "mtia", "named_buffers", "named_children", "named_modules", "named_parameters", "parameters",
    "pop", "register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook", "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook", "register_module", "register_parameter", "register_state_dict_post_hook",
    "register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "smart_apply",
    "state_dict", "to", "to_empty", "train", "training", "type", "update", "values", "xpu", "zero_grad",
})  # fmt: skip


def check_name(name: object, where: str = "") -> None:
    """Refuse a name that no task can have.

    Raises:
        InputError: It is one; the message begins with `where`.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(f"{where}task name {name!r} may hold letters, digits, _ and - only")
    if name in NOT_NAMES:
        raise InputError(
            f"{where}a task is called {name!r}, as a column of tables that have one per task is; give it another name, "
            f"such as {name}_1"
        )
    if taken(name):
        raise InputError(
            f"{where}a task is called {name!r}, which a PyTorch module keeps for itself, so that no model could have a "
            f"head of that name; give it another name, such as {name.strip('_') or 'task'}_1"
        )


def taken(name: str) -> bool:
    """Tell whether a name is one that a module of PyTorch may have for itself."""
    return name in MODULE_NAMES or name.startswith("_")

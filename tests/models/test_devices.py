"""What a GPU is spared, with stand-ins for one: tensors of the CPU that say they are on a GPU."""

import numpy as np
import pytest
import torch

from auxlearn import cost
from auxlearn.models import devices


class There(torch.Tensor):
    """Says that it is on a GPU."""

    device = torch.device("cuda")


def there(*values):
    return torch.tensor(values).as_subclass(There)


@pytest.fixture
def queue(monkeypatch):
    """What was asked of the GPU, in order."""
    asked = []

    class Event:
        def record(self):
            self.number = sum(name == "recorded" for name, _ in asked)
            asked.append(("recorded", self.number))

        def synchronize(self):
            asked.append(("waited", self.number))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: asked.append(("waited", "all")))
    return asked


def test_results_arrive_one_batch_behind(queue):
    def batches():
        for number in range(3):
            queue.append(("launched", number))
            yield np.array([number]), {"a": there(number), "b": there(number + 0.5).bfloat16()}

    arrived = [
        (index.tolist(), {n: v.tolist() for n, v in values.items()}) for index, values in devices.on_host(batches())
    ]
    assert arrived == [([n], {"a": [n], "b": [n + 0.5]}) for n in range(3)]
    order = [("launched", 0), ("recorded", 0), ("launched", 1), ("recorded", 1), ("waited", 0), ("launched", 2)]
    assert queue == [*order, ("recorded", 2), ("waited", 1), ("waited", 2)]


def test_results_of_a_cpu_are_there_at_once(queue):
    seen = []

    def batches():
        for number in range(2):
            seen.append(f"computed {number}")
            yield np.array([number]), {"a": torch.tensor([number], dtype=torch.float16)}

    for index, values in devices.on_host(batches()):
        seen.append(f"read {index[0]}")
        assert values["a"].dtype == np.float16
    assert seen == ["computed 0", "read 0", "computed 1", "read 1"]
    assert not queue


def test_a_copy_to_a_gpu_is_from_pinned_memory_and_waits_for_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, **how: asked.append((str(device), how)) or self)
    devices.to_device(torch.zeros(2), torch.device("cuda"))
    assert asked == ["pinned", ("cuda", {"non_blocking": True})]
    asked.clear()
    devices.to_device(there(1.0), torch.device("cuda"))  # there already: nothing to pin
    devices.to_device(torch.zeros(2), torch.device("cpu"))
    assert asked == [("cuda", {}), ("cpu", {})]


def test_a_cpu_s_check_is_read_at_once_and_a_gpu_s_with_the_others():
    verdicts = devices.Verdicts()
    with pytest.raises(ValueError, match="at once"):
        verdicts.add(torch.tensor(False), lambda: ValueError("at once"))
    for number, sound in enumerate((True, False, False)):
        verdicts.add(torch.tensor(sound).as_subclass(There), lambda n=number: ValueError(f"check {n}"))
    with pytest.raises(ValueError, match="check 1"):
        verdicts.settle()
    verdicts.settle()  # nothing is left


def test_deterministic_kernels_are_asked_for_while_a_stage_lasts_and_no_longer(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    fill = torch.utils.deterministic
    for before in (False, True):
        torch.use_deterministic_algorithms(before, warn_only=before)
        with devices.repeatable("cuda:1"):
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert not fill.fill_uninitialized_memory
        assert torch.are_deterministic_algorithms_enabled() == before
        assert torch.is_deterministic_algorithms_warn_only_enabled() == before
        assert fill.fill_uninitialized_memory
    torch.use_deterministic_algorithms(False)
    with devices.repeatable("cpu"):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("asked", ["highest", "high", "medium"])
def test_a_user_s_choice_of_tf32_is_set_aside_and_given_back(asked):
    """It would change results under the same key, on a CPU too, where "medium" is bf16."""
    matmul = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    torch.set_float32_matmul_precision(asked)
    try:
        before = [each.fp32_precision for each in matmul]
        with devices.repeatable("cpu"):
            assert [each.fp32_precision for each in matmul] == ["ieee", "ieee"]
        assert [each.fp32_precision for each in matmul] == before
        assert torch.get_float32_matmul_precision() == asked
        with pytest.raises(KeyError), devices.repeatable("cpu"):
            raise KeyError
        assert [each.fp32_precision for each in matmul] == before
        with devices.repeatable("cpu", "tf32"):  # of a GPU's products alone: on a CPU it would be another format
            assert [each.fp32_precision for each in matmul] == ["tf32", "ieee"]
        assert [each.fp32_precision for each in matmul] == before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_clock_is_read_when_a_gpu_has_done_what_it_was_given(queue):
    assert cost.clock("cpu") <= cost.clock("cpu")
    assert not queue
    cost.clock("cuda:0")
    assert queue == [("waited", "all")]

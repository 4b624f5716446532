import numpy as np
import pytest
import torch

from auxlearn.models import fast_dropout, multitask


def test_masks_keep_the_rate_and_the_mean():
    mask = fast_dropout.Source().mask(torch.Size((1000, 300)), 0.1, torch.float32)
    values = sorted(np.unique(mask.numpy()).tolist())
    assert values == pytest.approx([0.0, 1 / 0.9])
    # Five standard errors of 300,000 draws.
    assert (mask == 0).float().mean().item() == pytest.approx(0.1, abs=5 * np.sqrt(0.09 / 3e5))
    rows = (mask == 0).float().mean(1)
    assert rows.std().item() == pytest.approx(np.sqrt(0.09 / 300), rel=0.15)  # as independent draws have it


def test_masks_follow_the_seed():
    source = fast_dropout.Source()
    masks = []
    for seed in (5, 5, 6):
        source.reseed(seed)
        masks.append(source.mask(torch.Size((7, 9)), 0.5, torch.float32))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_dropout_is_off_in_eval_and_its_gradient_is_its_mask():
    layer = fast_dropout.Dropout(0.3, fast_dropout.Source())
    x = torch.ones(50, 40, requires_grad=True)
    dropped = layer(x)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())
    assert layer.eval()(x) is x


def test_a_built_model_uses_it_everywhere(small):
    net = multitask.build("tiny", small)
    kinds = {type(m) for m in net.modules()}
    assert torch.nn.Dropout not in kinds
    assert net.encoder.config._attn_implementation == fast_dropout.NAME


@pytest.mark.parametrize("name", ["topic_side", "word_class"])
def test_attention_under_dropout_has_the_mean_of_attention_without(small, name):
    """Averaged over masks of the attention weights alone, one layer's output is what it is with dropout off."""
    task = small[name]
    net = multitask.build("tiny", small)
    batch = multitask.collate([task.train[i] for i in range(8)], task, net)
    layer = net.encoder.encoder.layer[0].attention.self
    for part in net.encoder.modules():
        if isinstance(part, fast_dropout.Dropout) and part is not layer.dropout:
            part.p = 0.0
    outputs = {}
    layer.register_forward_hook(lambda m, i, o: outputs.update(out=o[0].detach()))
    net.eval()
    net(batch)
    plain = outputs["out"]
    net.train()
    total = torch.zeros_like(plain)
    for _ in range(400):
        net(batch)
        total += outputs["out"]
    spread = plain[batch["attention_mask"].bool()].std()
    difference = (total / 400 - plain)[batch["attention_mask"].bool()]
    assert difference.abs().mean() < 0.06 * spread
    assert not torch.allclose(outputs["out"], plain)


def test_padding_does_not_enter_attention_under_dropout(small):
    """With the dropout probability at nearly 0, training mode must agree with evaluation, padding included."""
    task = small["topic_side"]
    net = multitask.build("tiny", small)
    for part in net.modules():
        if isinstance(part, fast_dropout.Dropout):
            part.p = 1e-9
    batch = multitask.collate([task.train[i] for i in range(12)], task, net)
    assert (batch["attention_mask"] == 0).any()
    trained = net(batch).logits
    assert torch.allclose(trained, net.eval()(batch).logits, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_mask_is_its_draws_times_the_scale_to_the_bit(dtype):
    source, shape = fast_dropout.Source(), torch.Size((33, 7))
    source.reseed(3)
    mask = source.mask(shape, 0.1, dtype)
    source.reseed(3)
    draws = source.bits.random_raw(-(-shape.numel() // 4)).view(np.uint16)[: shape.numel()]
    by_hand = torch.from_numpy(draws >= round(0.1 * 65536)).to(dtype).mul_(1 / 0.9).view(shape)
    assert torch.equal(mask, by_hand)
    assert mask.dtype == dtype

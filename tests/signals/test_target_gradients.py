"""Streaming inner products against autograd in so many words; heads against scikit-learn; a model left as found."""

import gc
import json
import math

import numpy as np
import pytest
import torch

from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine
from auxlearn.models import multitask
from auxlearn.signals import target_gradients
from auxlearn.training import linear_head

# PyTorch's own forward-mode rules still use what it deprecates.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),
]
KINDS = ["topic_side", "side_share", "word_class"]  # classification, regression, tagging


@pytest.fixture(scope="module")
def suite(small):
    return small


@pytest.fixture
def net(suite):
    """Initial weights leave little for heads to read; larger ones give every task a gradient worth measuring."""
    model = multitask.build("tiny", suite)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn(p.shape, generator=noise)
    return model


def batch(net, suite, name, rows):
    return multitask.collate([suite[name].train[int(i)] for i in rows], suite[name], net)


def chunks(net, suite, name, *ranges):
    return [[batch(net, suite, name, rows)] for rows in ranges]


def gradient(net, some, which="shared"):
    """By hand: one vector, fp64, of the mean loss of one batch."""
    net.eval()
    params = [p for _, p in target_gradients.parameters(net, which)]
    loss = net.task_loss(some, net(some).logits)
    gradients = torch.autograd.grad(loss, params, allow_unused=True)
    net.train()
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(params, gradients, strict=True)]
    ).double()


def close(measured, expected, scale, rtol=1e-5):
    """Equal to `rtol` of the norms involved: a product near 0 has no digits of its own."""
    measured, expected = np.asarray(measured), np.asarray(expected)
    assert measured.shape == expected.shape
    assert (np.abs(measured - expected) <= rtol * np.asarray(scale)).all(), np.abs(measured - expected) / scale


# --- which parameters ------------------------------------------------------------------------------------------------


def test_the_compared_parameters(net, suite, tmp_path):
    names = dict(net.named_parameters())
    sets = {which: target_gradients.parameters(net, which) for which in ("encoder", "shared", "last_layer")}
    assert all(p is names[n] for some in sets.values() for n, p in some)
    assert {n for n, _ in sets["shared"]} == {n for n in names if n.startswith("encoder.")}
    assert [n for n, _ in sets["encoder"]] == [n for n, _ in sets["shared"]]  # there is no pooler
    assert {n for n, _ in sets["last_layer"]} == {n for n in names if n.startswith("encoder.encoder.layer.1.")}
    with pytest.raises(InputError, match="'heads' is none of"):
        target_gradients.parameters(net, "heads")


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert"])
def test_other_encoders(net, suite, tmp_path, kind):
    """A pooler is shared, but not of the encoder that the authors compare; the last layer is found by structure."""
    import transformers as hf

    common = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40}
    size = len(net.tokenizer)
    ids = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    encoder = {
        "bert": lambda: hf.BertModel(hf.BertConfig(vocab_size=size, **common)),
        "distilbert": lambda: hf.DistilBertModel(
            hf.DistilBertConfig(vocab_size=size, dim=24, n_layers=3, n_heads=3, hidden_dim=40)
        ),
        "modernbert": lambda: hf.ModernBertModel(hf.ModernBertConfig(vocab_size=size, **ids, **common)),
    }[kind]()
    encoder.save_pretrained(tmp_path)
    net.tokenizer.save_pretrained(tmp_path)
    other = multitask.build(str(tmp_path), suite)
    sets = {
        which: {n for n, _ in target_gradients.parameters(other, which)}
        for which in ("encoder", "shared", "last_layer")
    }
    pooler = {n for n in sets["shared"] if "pooler" in n}
    assert bool(pooler) == (kind == "bert")
    assert sets["encoder"] == sets["shared"] - pooler
    stem = {
        "bert": "encoder.encoder.layer.2.",
        "distilbert": "encoder.transformer.layer.2.",
        "modernbert": "encoder.layers.2.",
    }
    assert sets["last_layer"] == {n for n in sets["shared"] if n.startswith(stem[kind])}
    probe = target_gradients.Probe(other, "encoder")
    one = batch(other, suite, "topic_side", range(4))
    assert probe.target([[one]])[0, 0] == pytest.approx(float(gradient(other, one, "encoder").square().sum()), rel=1e-5)
    assert torch.isfinite(probe.scores(one)).all()


# --- inner products --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("which", ["encoder", "shared", "last_layer"])
@pytest.mark.parametrize("name", KINDS)
def test_products_are_those_of_the_gradients(net, suite, which, name, at_once, monkeypatch):
    """By parameters, as on a CPU, and of whole gradients, as on a GPU; blocks of 1,000 cut the smallest of them too."""
    if at_once:
        monkeypatch.setattr(target_gradients, "BLOCK", 1000)
        monkeypatch.setattr(target_gradients.Probe, "_by_parameter", target_gradients.Probe._at_once)
    probe = target_gradients.Probe(net, which)
    halves, parts = (range(0, 9), range(9, 18)), (range(18, 24), range(24, 30), range(30, 36))
    a = torch.stack([gradient(net, batch(net, suite, "topic_name", rows), which) for rows in halves])
    b = torch.stack([gradient(net, batch(net, suite, name, rows), which) for rows in parts])
    assert probe.size == a.shape[1]
    gram = probe.target(chunks(net, suite, "topic_name", *halves))
    moments = probe.source(chunks(net, suite, name, *parts))
    x, y = a.norm(dim=1).numpy(), b.norm(dim=1).numpy()
    close(gram, a @ a.T, np.outer(x, x))
    close(moments.target, a @ a.T, np.outer(x, x))
    close(moments.dots, a @ b.T, np.outer(x, y))
    close(moments.own, b @ b.T, np.outer(y, y))
    whole = 1 - torch.cosine_similarity(a.mean(0), b.mean(0), 0).item()
    assert 1 - cosine.naive(moments) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_chunk_in_several_batches_is_the_chunk(net, suite, name):
    """Padded differently, and for tagging with other numbers of labelled tokens a batch."""
    probe, rows = target_gradients.Probe(net), np.arange(20)
    probe.target(chunks(net, suite, "topic_name", range(10)))
    whole = probe.source(chunks(net, suite, name, rows))
    parts = (batch(net, suite, name, some) for some in (rows[:3], rows[3:11], rows[11:]))
    several = probe.source([parts])
    close(several.own, whole.own, whole.own)
    close(several.dots, whole.dots, np.sqrt(whole.own * whole.target))
    a_row_apart = gradient(net, batch(net, suite, name, rows))
    close(whole.own[0, 0], a_row_apart.square().sum(), whole.own[0, 0])


def test_the_target_against_itself_is_one_on_the_same_rows_only(net, suite):
    probe = target_gradients.Probe(net)
    probe.target(chunks(net, suite, "topic_side", range(30)))
    same = probe.source(chunks(net, suite, "topic_side", range(30)))
    assert cosine.naive(same) == pytest.approx(1.0, abs=1e-6)
    other = probe.source(chunks(net, suite, "topic_side", range(30, 60)))
    assert cosine.naive(other) < 0.999


def test_a_source_that_is_a_copy_of_the_target_reaches_the_ceiling(net, suite):
    probe = target_gradients.Probe(net)
    rows = target_gradients.draw(np.arange(80), 8, 10, np.random.default_rng(0))
    probe.target(chunks(net, suite, "word_class", *rows[:4]))
    copy = probe.source(chunks(net, suite, "word_class", *rows[4:]))
    value, error = cosine.debiased(copy)
    assert abs(value - 1) < 4 * error
    assert error < 0.1
    assert cosine.naive(copy) == pytest.approx(value * cosine.attenuation(copy), rel=1e-9)
    unrelated = probe.source(chunks(net, suite, "side_share", *rows[4:]))
    assert abs(cosine.debiased(unrelated)[0]) < value - 4 * error


def test_a_new_target_replaces_the_old_one_and_probing_twice_is_the_same(net, suite):
    probe, source = target_gradients.Probe(net), chunks(net, suite, "word_class", range(8), range(8, 16))
    first = chunks(net, suite, "topic_side", range(8), range(8, 16))
    before = probe.target(first), probe.source(source).dots
    probe.target(chunks(net, suite, "side_share", range(4)))
    assert probe.source(source).dots.shape == (1, 2)
    again = probe.target(first), probe.source(source).dots
    assert all(np.array_equal(x, y) for x, y in zip(before, again, strict=True))


def test_a_parameter_that_took_no_part_counts_as_zero(net, suite):
    """After a target with it, one without: nothing of the first may be left in the buffer."""
    probe, one = target_gradients.Probe(net), batch(net, suite, "topic_side", range(8))
    probe.target([[one]])
    whole = float(probe.gram[0, 0])
    idle = net.encoder.embeddings.word_embeddings.weight
    before = idle.detach().clone()

    def without(module, args, output):
        return output.detach()

    hook = net.encoder.embeddings.word_embeddings.register_forward_hook(without)
    gram = probe.target([[one]])[0, 0]
    moments = probe.source([[one], [one]])
    hook.remove()
    assert 0 < gram < whole
    np.testing.assert_allclose(moments.dots, gram, rtol=1e-6)
    np.testing.assert_allclose(moments.own, gram, rtol=1e-6)
    assert torch.equal(idle, before)


def test_training_gradients_can_be_read(net, suite):
    """Before clipping, the factor of the loss taken out again; products as a source without dropout has them."""
    probe, other = target_gradients.Probe(net), batch(net, suite, "side_share", range(12))
    probe.target(chunks(net, suite, "word_class", range(8), range(8, 16)))
    moments = probe.source([[other]])
    net.eval()
    (3.5 * net.task_loss(other, net(other).logits)).backward()
    net.train()
    dots = probe.read(3.5)
    assert dots.dtype == torch.float64
    norms = np.sqrt(np.diag(moments.target) * moments.own[0, 0])
    close(dots[:2].numpy(), moments.dots[:, 0], norms)
    assert dots[2].item() == pytest.approx(moments.own[0, 0], rel=1e-5)
    value, error = cosine.reused(dots[None].numpy(), probe.gram)
    assert math.isfinite(value)
    assert math.isnan(error)
    net.zero_grad()
    assert probe.read().tolist() == [0, 0, 0]


def test_long_sums_keep_their_digits():
    """A gradient of word embeddings has tens of millions of entries; a plain fp32 sum is off in the fourth digit."""
    g = torch.randn(3_000_000, generator=torch.Generator().manual_seed(0))
    exact = float(g.double() @ g.double())
    assert float(target_gradients._products(g[None], g)[0]) == pytest.approx(exact, rel=2e-6)
    assert float(torch.stack(target_gradients._dots([g], g)).double().sum()) == pytest.approx(exact, rel=2e-6)


# --- per-example scores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["shared", "last_layer"])
@pytest.mark.parametrize("name", KINDS)
def test_scores_are_each_rows_product_with_the_target(net, suite, name, which):
    probe = target_gradients.Probe(net, which)
    halves = (range(0, 9), range(9, 18))
    probe.target(chunks(net, suite, "topic_side", *halves))
    a = torch.stack([gradient(net, batch(net, suite, "topic_side", rows), which) for rows in halves]).mean(0)
    rows = range(20, 29)
    alone = torch.stack([gradient(net, batch(net, suite, name, [i]), which) for i in rows])
    expected, scale = (alone @ a).numpy(), (alone.norm(dim=1) * a.norm()).numpy()
    exact = probe.scores(batch(net, suite, name, rows))
    assert exact.dtype == torch.float32
    close(exact.numpy(), expected, scale)
    close(probe.scores(batch(net, suite, name, rows), "difference").numpy(), expected, scale, rtol=2e-2)
    assert np.corrcoef(probe.scores(batch(net, suite, name, rows), "difference").numpy(), expected)[0, 1] > 0.99


def test_scores_add_up_to_the_products_of_the_task(net, suite):
    probe, some = target_gradients.Probe(net), batch(net, suite, "topic_side", range(10))
    probe.target(chunks(net, suite, "topic_name", range(10), range(10, 20)))
    moments = probe.source([[some]])
    scale = math.sqrt(moments.target.mean() * moments.own[0, 0])
    close(probe.scores(some).mean().item(), moments.dots.mean(), scale)


def test_scores_for_a_target_without_a_gradient_are_zero(net, suite):
    with torch.no_grad():
        net.heads["topic_side"].weight.zero_()
    probe = target_gradients.Probe(net)
    probe.target(chunks(net, suite, "topic_side", range(6)))
    assert probe.scores(batch(net, suite, "word_class", range(3))).tolist() == [0, 0, 0]


# --- left as found, and memory ---------------------------------------------------------------------------------------


def snapshot(net):
    return {
        "mode": [m.training for m in net.modules()],
        "flags": [p.requires_grad for p in net.parameters()],
        "grad": [id(p.grad) for p in net.parameters()],
        "values": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "weights": [p.detach().clone() for p in net.parameters()],
        "torch": torch.get_rng_state(),
        "masks": json.dumps(net.source.bits.state, default=np.ndarray.tolist),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "hooks": [len(m._forward_pre_hooks) for m in net.modules()],
    }


def same(one, other):
    for key, was in one.items():
        for a, b in zip(
            [was] if isinstance(was, str) else was, [other[key]] if isinstance(was, str) else other[key], strict=True
        ):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, key


def test_the_model_is_left_as_found(net, suite):
    some = batch(net, suite, "topic_side", range(6))
    net.train()
    net.task_loss(some, net(some).logits).backward()
    net.encoder.encoder.layer[0].eval()
    net.encoder.embeddings.word_embeddings.weight.requires_grad_(False)
    net.encoder.embeddings.word_embeddings.weight.grad = None
    before = snapshot(net)
    for which in ("shared", "last_layer"):
        probe = target_gradients.Probe(net, which)
        probe.target([[some], [some]])
        probe.source(chunks(net, suite, "word_class", range(4), range(4, 8)))
        probe.read()
        probe.scores(some)
        probe.scores(some, "difference")
    linear_head.head_inputs(net, [some])
    same(before, snapshot(net))
    bad = some | {"labels": torch.full_like(some["labels"], batching.IGNORE)}
    for attempt in (
        lambda: probe.target([[some, bad]]), lambda: linear_head.head_inputs(net, [some, bad]),
        lambda: target_gradients.Probe(net).target([[some | {"input_ids": some["input_ids"] * 0 + 10**6}]]),
        lambda: linear_head.head_inputs(net, [some | {"input_ids": some["input_ids"] * 0 + 10**6}]),
    ):  # fmt: skip
        with pytest.raises((InputError, IndexError)):
            attempt()
        same(before, snapshot(net))


def test_a_probe_between_two_steps_changes_no_bit_of_a_training(net, suite):
    def trained(probing):
        model = multitask.build("tiny", suite)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        torch.manual_seed(0)
        model.source.reseed(0)
        probe = target_gradients.Probe(model)
        for step in range(3):
            some = batch(model, suite, KINDS[step], range(8))
            model.task_loss(some, model(some).logits).backward()
            if probing:
                probe.target(chunks(model, suite, "topic_side", range(4), range(4, 8)))
                probe.source(chunks(model, suite, "word_class", range(4)))
            optimiser.step()
            optimiser.zero_grad()
        return model.state_dict()

    one, other = trained(False), trained(True)
    assert all(torch.equal(v, other[k]) for k, v in one.items())


def big_tensors(size):
    """Bytes of all storages that vectors of at least so many bytes lie in."""
    held = {}
    for x in gc.get_objects():
        # By type: asking an instance for its class wakes lazy modules up, for seconds.
        if issubclass(type(x), torch.Tensor) and x.dtype == torch.float32 and x.numel() * x.element_size() >= size:
            held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
    return sum(held.values())


@pytest.mark.parametrize(("h", "m"), [(1, 1), (2, 3)])
def test_only_the_buffers_are_held(net, suite, h, m, monkeypatch):
    """One gradient at a time beside them: every chunk starts with none, and afterwards H + M - 1 vectors are left."""
    probe = target_gradients.Probe(net)
    parts = [range(4 * i, 4 * i + 4) for i in range(4)]
    vector = 4 * probe.size
    gc.collect()
    before, running = big_tensors(vector), []
    accumulate = probe._accumulate

    def watched(chunk):
        assert all(p.grad is None for p in net.parameters())
        running.append(big_tensors(vector) - before)
        return accumulate(chunk)

    monkeypatch.setattr(probe, "_accumulate", watched)
    probe.target(chunks(net, suite, "topic_side", *parts[:h]))
    probe.source(chunks(net, suite, "word_class", *parts[:m]))
    assert probe.buffer_bytes == (h + m - 1) * vector
    assert big_tensors(vector) - before == probe.buffer_bytes
    assert len(running) == h + m
    assert max(running) == probe.buffer_bytes
    assert all(p.grad is None for p in net.parameters())


def test_a_probe_works_where_gradients_are_off(net, suite):
    target = chunks(net, suite, "topic_side", range(4), range(4, 8))
    gram = target_gradients.Probe(net).target(target)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            probe = target_gradients.Probe(net)
            np.testing.assert_array_equal(probe.target(target), gram)
            inputs = linear_head.head_inputs(net, target[0])
        np.testing.assert_array_equal(probe.target(target), gram)  # the buffer can be written again
        linear_head.fit_head(*inputs, "classification", 2)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_drawn_chunks_are_disjoint_equal_and_as_long_as_asked():
    rows = np.arange(100, 200)
    parts = target_gradients.draw(rows, 3, 20, np.random.default_rng(1))
    assert [len(x) for x in parts] == [20, 20, 20]
    assert len(set(np.concatenate(parts))) == 60
    assert set(np.concatenate(parts)) <= set(rows)
    short = target_gradients.draw(rows, 3, 64, np.random.default_rng(1))
    assert [len(x) for x in short] == [33, 33, 33]
    again = target_gradients.draw(rows, 3, 20, np.random.default_rng(1))
    assert all(np.array_equal(x, y) for x, y in zip(parts, again, strict=True))
    assert not np.array_equal(parts[0], target_gradients.draw(rows, 3, 20, np.random.default_rng(2))[0])


# --- the target's head -----------------------------------------------------------------------------------------------


def test_head_inputs_are_what_the_head_reads(net, suite):
    for name in KINDS:
        task, rows = suite[name], [range(0, 7), range(7, 20)]
        batches = [batch(net, suite, name, some) for some in rows]
        features, labels = linear_head.head_inputs(net, batches)
        net.eval()
        logits = []
        for some in batches:
            outputs = net(some).logits
            labelled = some["labels"] != batching.IGNORE
            logits.append(outputs[labelled] if task.kind == "tagging" else outputs)
        net.train()
        torch.testing.assert_close(net.heads[name](features), torch.cat(logits))
        targets = torch.cat([b["labels"][b["labels"] != batching.IGNORE] for b in batches])
        assert torch.equal(labels, net.scaled(targets, name) if task.kind == "regression" else targets)


def test_a_classification_head_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    rng, ridge = np.random.default_rng(0), 0.05
    x, y = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    head = linear_head.fit_head(torch.tensor(x), torch.tensor(y), "classification", 3, ridge=ridge)
    # Its penalty is on the weights alone, so the constant is given as a feature there.
    with_one = np.concatenate([x, np.ones((60, 1))], 1)
    reference = LogisticRegression(C=1 / (60 * ridge), fit_intercept=False, tol=1e-10, max_iter=5000).fit(with_one, y)
    np.testing.assert_allclose(head.weight.numpy(), reference.coef_[:, :5], atol=1e-5)
    np.testing.assert_allclose(head.bias.numpy(), reference.coef_[:, 5], atol=1e-5)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_a_regression_head_is_scikit_learns(ridge):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 6)) + 3
    y = x @ rng.normal(size=6) + 2 + 0.1 * rng.normal(size=40)
    head = linear_head.fit_head(torch.tensor(x), torch.tensor(y), "regression", 1, ridge=ridge)
    reference = Ridge(alpha=40 * ridge / 2).fit(x, y)
    np.testing.assert_allclose(head.weight[0].numpy(), reference.coef_, atol=1e-8)
    assert head.bias.item() == pytest.approx(reference.intercept_, abs=1e-8)
    assert head.loss == pytest.approx(((reference.predict(x) - y) ** 2).mean())


def test_more_features_than_rows_have_a_least_squares_head_too():
    rng = np.random.default_rng(2)
    x, y = torch.tensor(rng.normal(size=(5, 20))), torch.tensor(rng.normal(size=5))
    head = linear_head.fit_head(x, y, "regression", 1, ridge=0.0)
    assert head.loss < 1e-12


def test_tagging_is_its_labelled_tokens_flattened():
    rng = np.random.default_rng(3)
    x, y = torch.tensor(rng.normal(size=(6, 9, 4))), torch.tensor(rng.integers(0, 4, (6, 9)))
    y[:, 0] = y[2, 3:] = batching.IGNORE
    head = linear_head.fit_head(x, y, "tagging", 5)
    flat = linear_head.fit_head(x[y >= 0], y[y >= 0], "classification", 5)
    assert torch.equal(head.weight, flat.weight)
    assert torch.isfinite(head.bias).all()
    assert head.bias[4] == head.bias.min()  # the class without rows


@pytest.mark.parametrize("name", KINDS)
def test_the_fitted_head_is_a_minimum_for_the_model(net, suite, name):
    """In the model, head gradients are minus the penalty's; the fit is the same each time and from any start."""
    task, some = suite[name], batch(net, suite, name, range(30))
    x, y = linear_head.head_inputs(net, [some])
    head = linear_head.fit_head(x, y, task.kind, task.n_outputs, ridge=0.02)
    again = linear_head.fit_head(x, y, task.kind, task.n_outputs, ridge=0.02)
    assert torch.equal(head.weight, again.weight)
    assert torch.equal(head.bias, again.bias)
    warm = linear_head.fit_head(x, y, task.kind, task.n_outputs, ridge=0.02, start=head)
    torch.testing.assert_close(warm.weight, head.weight, atol=1e-5, rtol=1e-4)
    assert warm.evaluations <= head.evaluations
    net.eval()
    start = net.task_loss(some, net(some).logits).item()
    head.copy_to(net.heads[name])
    loss = net.task_loss(some, net(some).logits)
    assert loss.item() == pytest.approx(head.loss, rel=1e-5)
    assert loss.item() < start
    loss.backward()
    slope = net.heads[name].weight.grad + 0.02 * head.weight
    assert slope.abs().max() < 1e-5


# --- bad input -------------------------------------------------------------------------------------------------------

ROWS = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p, b: p.source([[b]]), "no target gradient yet"),
        (lambda p, b: p.scores(b), "no target gradient yet"),
        (lambda p, b: p.read(), "no target gradient yet"),
        (lambda p, b: p.target([]), "no chunk of rows"),
        (lambda p, b: p.target([[]]), "a chunk without batches"),
        (lambda p, b: (p.target([[b]]), p.source([])), "no chunk of rows"),
        (lambda p, b: p.target([[b | {"labels": torch.full((4,), -100)}]]), "row 0 of task 'topic_side' has no label"),
        (lambda p, b: p.target([[b | {"parts": []}]]), "one task, not joined"),
        (lambda p, b: (p.target([[b]]), p.scores(b, "guess")), "'guess' is neither"),
        (lambda p, b: (p.target([[b]]), p.scores(b, "difference", 0.0)), "step: 0.0"),
        (lambda p, b: (p.target([[b]]), p.scores(b | {"labels": torch.tensor([0, 1, -100, 1])})), "row 2 of task"),
        (lambda p, b: (p.target([[b]]), p.read(0.0)), "scale: 0.0"),
    ],
)
def test_a_probe_that_cannot_be_is_refused(net, suite, make, says):
    with pytest.raises(InputError, match=says):
        make(target_gradients.Probe(net), batch(net, suite, "topic_side", range(4)))


def test_a_regression_row_without_a_label_is_named(net, suite):
    some = batch(net, suite, "side_share", range(4))
    some["labels"][2] = math.nan
    with pytest.raises(InputError, match="row 2 of task 'side_share' has no label"):
        target_gradients.Probe(net).target([[some]])


def test_a_gradient_that_is_not_finite_is_refused(net, suite):
    some = batch(net, suite, "topic_side", range(4))
    probe = target_gradients.Probe(net)
    probe.target([[some]])
    with torch.no_grad():
        net.heads["topic_side"].weight[0, 0] = math.nan
    with pytest.raises(InputError, match="gradient is not finite"):
        probe.source([[some]])
    with pytest.raises(InputError, match="score is not finite"):
        probe.scores(some)
    with pytest.raises(InputError, match="gradient is not finite"):
        probe.target([[some]])
    with pytest.raises(InputError, match="no target gradient yet"):  # the old one is gone with it
        probe.read()


def test_an_encoder_without_a_list_of_layers_has_no_last_one(net):
    net.encoder.config.num_hidden_layers = 7
    with pytest.raises(InputError, match="BertModel keeps no list of its 7 layers"):
        target_gradients.Probe(net, "last_layer")


@pytest.mark.parametrize(
    ("rows", "parts", "size", "says"),
    [(3, 4, 8, "3 rows for 4 disjoint chunks"), (9, 0, 8, "0 chunks of 8"), (9, 2, 0, "2 chunks of 0")],
)
def test_too_few_rows_to_draw_from(rows, parts, size, says):
    with pytest.raises(InputError, match=says):
        target_gradients.draw(np.arange(rows), parts, size, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((ROWS, torch.zeros(3), "regression", 1), {}, "do not fit labels"),
        ((torch.zeros(4), torch.zeros(4), "regression", 1), {}, "do not fit labels"),
        ((ROWS, torch.zeros(4), "ranking", 1), {}, "'ranking' is none of"),
        ((ROWS, torch.zeros(4).long(), "classification", 2), {"ridge": 0.0}, "ridge: 0.0"),
        ((ROWS, torch.zeros(4), "regression", 1), {"ridge": -1.0}, "ridge: -1.0"),
        ((ROWS, torch.zeros(4), "regression", 1), {"ridge": math.nan}, "ridge: nan"),
        ((ROWS, torch.full((4,), -100), "tagging", 2), {}, "no labelled row"),
        ((torch.zeros(0, 3), torch.zeros(0), "regression", 1), {}, "no labelled row"),
        ((ROWS * math.nan, torch.zeros(4), "regression", 1), {}, "not finite"),
        ((ROWS, torch.full((4,), math.nan), "regression", 1), {}, "not finite"),
        ((ROWS, torch.tensor([0, 1, 2, 1]), "classification", 2), {}, "class numbers from 0 to 1"),
        ((ROWS, torch.zeros(4), "classification", 2), {}, "class numbers from 0 to 1"),
        ((torch.randn(4, 3), torch.tensor([0, 1, 0, 1]), "classification", 2), {"evaluations": 1}, "raise ridge"),
        (
            (ROWS, torch.zeros(4).long(), "classification", 2),
            {"start": linear_head.Head(torch.zeros(3, 3), torch.zeros(3), 0.0, 1)},
            "start: a head of",
        ),
    ],
)  # fmt: skip
def test_a_head_that_cannot_be_fitted_is_refused(arguments, options, says):
    with pytest.raises(InputError, match=says):
        linear_head.fit_head(*arguments, **options)


def test_no_batches_give_no_head_inputs(net):
    with pytest.raises(InputError, match="no batches"):
        linear_head.head_inputs(net, [])

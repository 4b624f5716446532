"""A tuned model of one task as a Hugging Face folder that others load without this project.

Everything is checked before anything is written; `writing.new_folder` sees to it that a folder is there whole or not at
all.
"""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from auxlearn.data.suites import Task
from auxlearn.data.tokens import pieces
from auxlearn.errors import InputError
from auxlearn.files.writing import new_folder
from auxlearn.models import multitask

if TYPE_CHECKING:
    import torch

    from auxlearn.models.multitask import MultiTaskModel

TOKENS, SEQUENCES, ENCODER = "AutoModelForTokenClassification", "AutoModelForSequenceClassification", "AutoModel"
PROBE_ROWS = 8
PROBE_TOLERANCE = 1e-4  # of the largest logit; fp32 kernels of different devices and paddings differ by 1e-6


def model_folder(net: MultiTaskModel, task: Task, folder: Path) -> str:
    """Write the tuned model of one task as a new Hugging Face folder.

    Where a standard class computes what our head computes, that class loads the folder and gives the same logits:
    "AutoModelForTokenClassification" for tagging, "AutoModelForSequenceClassification" for a head on the pooler's
    output (BERT and its like; in RoBERTa's class the pooler's layer is part of the head). That it does is measured on
    rows of the task before anything is written. No standard class pools by mean or plain first token: then "AutoModel"
    loads the encoder, and the folder's README.md has the lines that apply head.safetensors to it.

    Regression heads that learn 0..1 (`net.regression == "unit"`) are rescaled, so that what is exported gives numbers
    on the task's own scale; unlike `prediction.predict`, it clips none of them to the range.

    Args:
        net: The tuned model.
        task: The task whose head to write.
        folder: A folder that does not exist, or is empty.

    Returns:
        The name of the transformers class that loads the folder.

    Raises:
        InputError: If the model has no head for the task, or the folder holds anything or cannot be written.
    """
    import torch
    from safetensors.torch import save_file
    from transformers.utils import logging

    folder = Path(folder)
    if task.name not in net.heads:
        raise InputError(f"task {task.name!r}: the model has no head for it; it has {', '.join(net.heads)}")
    logging.disable_progress_bar()
    weight, bias = _head(net, task)
    config = _config(net, task)
    with new_folder(folder) as part, torch.random.fork_rng(devices=[]):  # new modules draw weights
        loader, exported = _standard(net, task, config, weight, bias)
        if exported is None:
            loader, exported = ENCODER, _encoder(net, config)
            save_file({"weight": weight, "bias": bias}, part / "head.safetensors", {"format": "pt"})
        exported.cpu().save_pretrained(part)
        _tokenizer(net).save_pretrained(part)
        (part / "README.md").write_text(_readme(net, task, loader), encoding="utf-8")
    return loader


def _head(net: MultiTaskModel, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    head = cast("torch.nn.Linear", net.heads[task.name])
    weight, bias = (x.detach().float().cpu().clone() for x in (head.weight, head.bias))
    if task.kind == "regression" and net.regression == "unit":
        low, high = task.range or (0.0, 1.0)
        weight, bias = weight * (high - low), bias * (high - low) + low
    return weight, bias


def _config(net: MultiTaskModel, task: Task) -> Any:
    """Return the encoder's configuration without our attention function or its origin, but with the task's labels."""
    config = type(net.encoder.config).from_dict(net.encoder.config.to_dict())
    names = dict(enumerate(task.labels or (task.label,)))
    config.id2label, config.label2id = names, {name: i for i, name in names.items()}
    # Only sequence classes know problem types; a token class has none.
    kinds = {"classification": "single_label_classification", "regression": "regression", "tagging": None}
    config.problem_type = kinds[task.kind]
    config.dtype, config.name_or_path = "float32", ""
    return config


def _standard(
    net: MultiTaskModel, task: Task, config: Any, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[str, Any]:
    """Return the standard class and a model of it with our weights, if there is one that computes the same.

    Else return ENCODER and None.
    """
    import transformers

    if task.kind != "tagging" and net.pool != "pooler":
        return ENCODER, None
    loader = TOKENS if task.kind == "tagging" else SEQUENCES
    try:
        standard = getattr(transformers, loader).from_config(copy.deepcopy(config))
    except ValueError:  # this kind of encoder has no such class
        return ENCODER, None
    state = {f"{standard.base_model_prefix}.{name}": value for name, value in net.encoder.state_dict().items()}
    state |= {"classifier.weight": weight, "classifier.bias": bias}
    dense = getattr(getattr(net.encoder, "pooler", None), "dense", None)
    if dense is not None:  # RoBERTa and its like
        state |= {"classifier.dense.weight": dense.weight, "classifier.dense.bias": dense.bias}
        state |= {"classifier.out_proj.weight": weight, "classifier.out_proj.bias": bias}
    standard_state = standard.state_dict()
    if any(name not in state or state[name].shape != value.shape for name, value in standard_state.items()):
        return ENCODER, None
    standard.load_state_dict({name: state[name] for name in standard_state})
    return (loader, standard) if _same(net, standard, task) else (ENCODER, None)


def _same(net: MultiTaskModel, standard: Any, task: Task) -> bool:
    """Tell whether a standard class gives our logits on some rows of the task."""
    import torch

    rows = [task.train[i] for i in range(min(PROBE_ROWS, len(task.train)))]
    batch = multitask.collate(rows, task, net)
    was_training = net.training
    net.eval()
    standard.eval().to(net.device)
    try:
        with torch.no_grad():
            logits = net(batch).logits
            if task.kind == "regression" and net.regression == "unit":
                low, high = task.range or (0.0, 1.0)
                logits = logits * (high - low) + low
            standard_logits = standard(**net.inputs(batch)).logits
    finally:
        net.train(was_training)
    if logits.shape != standard_logits.shape:
        return False
    if task.kind == "tagging":
        mask = batch["attention_mask"].bool().to(net.device)
        logits, standard_logits = logits[mask], standard_logits[mask]
    return bool((logits - standard_logits).abs().max() <= PROBE_TOLERANCE * logits.abs().max().clamp(min=1))


def _pooler_option(encoder: Any) -> dict[str, bool]:
    takes = "add_pooling_layer" in inspect.signature(type(encoder).__init__).parameters
    return {"add_pooling_layer": False} if takes and getattr(encoder, "pooler", None) is None else {}


def _encoder(net: MultiTaskModel, config: Any) -> Any:
    """Return a plain copy of the encoder, without dropouts and attention of our own."""
    encoder_copy = type(net.encoder)(config, **_pooler_option(net.encoder))
    encoder_copy.load_state_dict(net.encoder.state_dict())
    return encoder_copy


def _tokenizer(net: MultiTaskModel) -> Any:
    """Return the tokenizer as the model was trained with it: its length limit, and the encoder's inputs."""
    tokenizer = copy.deepcopy(net.tokenizer)
    tokenizer.model_max_length = net.max_length
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "right"
    if tokenizer.pad_token is None:  # GPT-2 has none, and batches need one; what it is makes no odds, as it is masked
        known = (tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token)
        tokenizer.pad_token = next((token for token in known if token is not None), None)
    names = ["input_ids", *(["token_type_ids"] if net.takes_types else []), "attention_mask"]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    if tokenizer.is_fast:  # the last call's settings are no property of the tokenizer
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _readme(net: MultiTaskModel, task: Task, loader: str) -> str:
    tagging = task.kind == "tagging"
    if task.kind == "regression":
        low, high = task.range or (0.0, 1.0)
        clip = "; clip them to it" if net.regression == "unit" else ""
        meaning = f"Outputs are numbers on the task's own scale, {low:g} to {high:g}{clip}."
    else:
        meaning = f"Outputs are logits; the largest names the {'tag of a piece' if tagging else 'label'}."
    if tagging:
        meaning += " A word's tag is that of its first piece."
    load, lines = f"{loader}.from_pretrained(folder).eval()", ["    return model(**inputs).logits"]
    imports = [f"from transformers import {loader}, AutoTokenizer"]
    if loader == ENCODER:
        option = "".join(f", {k}={v}" for k, v in _pooler_option(net.encoder).items())
        load = f'AutoModel.from_pretrained(folder{option}).eval()\nhead = load_file(f"{{folder}}/head.safetensors")'
        imports = ["from safetensors.torch import load_file", *imports]
        features = {
            "tagging": ["    features = model(**inputs).last_hidden_state"],
            "pooler": ["    features = model(**inputs).pooler_output"],
            "cls": ["    features = model(**inputs).last_hidden_state[:, 0]"]
            if not net.cls_last
            else [
                "    last = inputs['attention_mask'].sum(1) - 1",
                "    features = model(**inputs).last_hidden_state[torch.arange(len(last)), last]",
            ],
            "mean": [
                "    states, mask = model(**inputs).last_hidden_state, inputs['attention_mask'].unsqueeze(-1)",
                "    features = (states * mask).sum(1) / mask.sum(1)",
            ],
        }["tagging" if tagging else net.pool]
        lines = [*features, "    return features @ head['weight'].T + head['bias']"]
    words = ", is_split_into_words=True" if tagging else ""
    spaced = (
        ["    texts = [[[' ' * (i > 0) + word for i, word in enumerate(words)] for words in text] for text in texts]"]
        if tagging and pieces.word_prefix(net.tokenizer)
        else []
    )  # as words stand in a text
    example = '["A", "tokenised", "sentence"]' if tagging else '"A first text"'
    example = f"[{example}]" + (', ["Its second text"]' if task.is_pair else "")
    code = "\n".join([
        "import torch", *imports, "", 'folder = "."  # this one', "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {load}", "", "", "@torch.inference_mode()", "def outputs(*texts):", *spaced,
        f"    inputs = tokenizer(*texts{words}, truncation=True, padding=True, return_tensors='pt')", *lines, "", "",
        f"print(outputs({example}))",
    ])  # fmt: skip
    labels = f" Labels, in order: {', '.join(task.labels)}." if task.labels else ""
    note = "" if loader != ENCODER else (
        " No standard class computes this head: `AutoModel` loads the encoder, head.safetensors holds the last layer."
    )  # fmt: skip
    inputs = " and ".join(f"`{column}`" for column in task.inputs)
    return (
        f"# {task.name}\n\nA {task.kind} model of {inputs}, tuned by auxlearn, cut at {net.max_length} tokens.{labels}"
        f" {meaning}{note}\n\n```python\n{code}\n```\n"
    )

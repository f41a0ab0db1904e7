"""Folders of BERT, RoBERTa and GPT-2: hidden states of transformers', and of torch's own blocks."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from gssl.data.tokens import Tokenizer
from gssl.errors import UsageError
from gssl.nets import hugging_face
from gssl.nets.published_text import PREFIX, PublishedText
from gssl.vocabulary import FIRST
from tests.nets.text_folders import BEHIND, DEPTH, HEADS, MLP, POSITIONS, TEXTS, WIDTH, folder, padded, tokenizer

FAMILIES = ("bert", "roberta", "gpt2")
SIZE = 7  # tokens of a text that are read: two texts are longer


def loaded(path, size=SIZE):
    found = hugging_face.find(str(path), "hf:x")
    net = PublishedText(found.network.removeprefix(PREFIX), size)
    net.load_state_dict(found.tensors())
    return net.eval()


def ids(path, texts=TEXTS, size=SIZE):
    """As `data=text` gives them."""
    own = Tokenizer((path / "tokenizer.json").read_text()).encode(texts)
    return nn.utils.rnn.pad_sequence([torch.from_numpy(one[:size]) for one in own], batch_first=True)


def by_torch(path, family, given, mask):
    """Hidden states by `nn.TransformerEncoderLayer`, from tensors by their names in the file."""
    state = {key.removeprefix(f"{family}."): value for key, value in load_file(path / "model.safetensors").items()}
    place = torch.arange(given.shape[1])
    if family == "gpt2":
        x = state["wte.weight"][given] + state["wpe.weight"][place]
    else:
        parts = {name: state[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
        x = parts["word"][given] + parts["position"][place + BEHIND[family]] + parts["token_type"][0]
        x = F.layer_norm(x, (WIDTH,), state["embeddings.LayerNorm.gamma"], state["embeddings.LayerNorm.beta"], 1e-5)
    found = [x]
    for i in range(DEPTH):
        act = (lambda y: F.gelu(y, approximate="tanh")) if family == "gpt2" else F.gelu
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, MLP, 0.0, act, 1e-5, True, norm_first=family == "gpt2")
        if family == "gpt2":
            names = {"self_attn.in_proj_": "attn.c_attn.", "self_attn.out_proj.": "attn.c_proj.", "norm1.": "ln_1."}
            names |= {"linear1.": "mlp.c_fc.", "linear2.": "mlp.c_proj.", "norm2.": "ln_2."}
            own = {}
            for to, name in names.items():
                own[f"{to}weight"] = (
                    state[f"h.{i}.{name}weight"].t() if "ln" not in name else state[f"h.{i}.{name}weight"]
                )
                own[f"{to}bias"] = state[f"h.{i}.{name}bias"]
        else:
            names = {"self_attn.out_proj.": "attention.output.dense.", "norm1.": "attention.output.LayerNorm."}
            names |= {"linear1.": "intermediate.dense.", "linear2.": "output.dense.", "norm2.": "output.LayerNorm."}
            at = f"encoder.layer.{i}."
            own = {f"{to}{w}": state[f"{at}{name}{w}"] for to, name in names.items() for w in ("weight", "bias")}
            for w in ("weight", "bias"):
                parts = [state[f"{at}attention.self.{name}.{w}"] for name in ("query", "key", "value")]
                own[f"self_attn.in_proj_{w}"] = torch.cat(parts)
        layer.load_state_dict(own)
        causal = nn.Transformer.generate_square_subsequent_mask(len(place)) if family == "gpt2" else None
        behind = None if family == "gpt2" else ~mask
        found.append(layer(found[-1], src_mask=causal, src_key_padding_mask=behind))
    if family == "gpt2":
        found[-1] = F.layer_norm(found[-1], (WIDTH,), state["ln_f.weight"], state["ln_f.bias"], 1e-5)
    return found


def compare(net, found, mask, tokens):
    """Hidden states of every block where there are tokens, the mean over them, and the last map."""
    own, there = net.hidden(tokens)
    assert torch.equal(there, mask) and not mask.all()
    for mine, its in zip(own, found, strict=True):
        torch.testing.assert_close(mine[mask], its[mask], atol=1e-5, rtol=1e-5)
    mean = (found[-1] * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # as sentence-transformers' mean pooling
    torch.testing.assert_close(net(tokens), mean, atol=1e-5, rtol=1e-5)
    maps, count = net.dense(tokens), (tokens >= FIRST).sum(1)
    assert [m.shape for m in maps] == [(len(tokens), WIDTH, 1, tokens.shape[1])] * len(net.dims)
    start = len(net.first)
    for row, n in enumerate(count.tolist()):
        torch.testing.assert_close(maps[-1][row, :, 0, :n].t(), found[-1][row, start : start + n], atol=1e-5, rtol=1e-5)
        assert not maps[-1][row, :, 0, n:].any()


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_blocks_are_those_of_torch(tmp_path, family):
    """With padding, with texts that are cut off, with special tokens where the tokenizer puts them."""
    path = folder(tmp_path / "m", family)
    given, mask = padded(path, TEXTS, SIZE, 1)
    compare(loaded(path), by_torch(path, family, given, mask), mask, ids(path))


@pytest.mark.long
@pytest.mark.parametrize(
    ("family", "name", "options"),
    [
        ("bert", "BertModel", {}),
        ("bert", "BertModel", {"pad_token_id": 3, "hidden_act": "gelu_new"}),
        ("bert", "BertForMaskedLM", {}),
        ("bert", "BertForSequenceClassification", {"hidden_act": "relu"}),
        ("roberta", "RobertaModel", {}),
        ("roberta", "RobertaModel", {"pad_token_id": 3, "type_vocab_size": 1}),
        ("roberta", "RobertaForMaskedLM", {}),
        ("roberta", "XLMRobertaModel", {}),
        ("roberta", "CamembertModel", {}),
        ("gpt2", "GPT2Model", {}),
        ("gpt2", "GPT2LMHeadModel", {"n_inner": 40, "layer_norm_epsilon": 1e-3}),
    ],
)
@torch.no_grad()
def test_hidden_states_are_those_of_transformers(tmp_path, family, name, options):
    import transformers as t

    own = tokenizer(family)
    (tmp_path / "tokenizer.json").write_text(own.to_str())
    size = {"hidden_size": WIDTH, "num_hidden_layers": 5, "num_attention_heads": HEADS, "vocab_size": 300}
    size |= {"max_position_embeddings": POSITIONS}
    size |= {"bos_token_id": 0, "eos_token_id": 2} if family == "gpt2" else {"intermediate_size": MLP}
    torch.manual_seed(0)
    kind = getattr(t, name)
    theirs = kind(kind.config_class(**size | options)).eval()
    for weight in theirs.parameters():
        weight.data.normal_(0, 0.3)
    theirs.save_pretrained(tmp_path)
    pad = theirs.config.pad_token_id or 0
    given, mask = padded(tmp_path, TEXTS, SIZE, pad)
    said = theirs(input_ids=given, attention_mask=mask.long(), output_hidden_states=True)
    compare(loaded(tmp_path), said.hidden_states, mask, ids(tmp_path))


def test_a_network_says_all_of_itself_and_every_weight_has_a_group(tmp_path):
    for family in FAMILIES:
        path = folder(tmp_path / family, family)
        net = loaded(path)
        weights = [weight for group in net.layer_groups() for weight in group]
        assert len(net.layer_groups()) == len(net.dims) == DEPTH
        assert sorted(map(id, weights)) == sorted(map(id, net.parameters()))
        assert (net.first, net.last) == {"bert": ([2], [3]), "roberta": ([0], [2]), "gpt2": ([], [])}[family]


def test_a_text_alone_and_without_tokens(tmp_path):
    """What stands beside a text changes nothing; a text of which nothing is left has features that are finite."""
    for family in FAMILIES:
        path = folder(tmp_path / family, family)
        net, tokens = loaded(path), ids(path)
        with torch.no_grad():
            torch.testing.assert_close(net(tokens[1:2, :1]), net(ids(path, TEXTS, 1))[1:2], atol=1e-6, rtol=1e-5)
            assert net(torch.zeros(2, 3, dtype=torch.int64)).isfinite().all()


def test_longer_texts_than_positions_are_refused(tmp_path):
    for family, room in (("bert", POSITIONS - 2), ("roberta", POSITIONS - 2 - 2), ("gpt2", POSITIONS)):
        path = folder(tmp_path / family, family)
        assert loaded(path, room)(torch.full((1, room), FIRST + 5)).shape == (1, WIDTH)
        with pytest.raises(
            UsageError, match=rf"data.size={room + 1}: .* at most {room} tokens .* use data.size={room}"
        ):
            loaded(path, room + 1)


def change(path, **values):
    known = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(known | values))


def no_special(path):
    text = json.loads((path / "tokenizer.json").read_text()) | {"post_processor": None}
    (path / "tokenizer.json").write_text(json.dumps(text))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda p: (p / "tokenizer.json").unlink(), r"has no tokenizer.json, .*save_pretrained\(FOLDER\)"),
        (lambda p: (p / "tokenizer.json").write_text("{"), r"tokenizer.json is no tokenizer.json .*; fetch it again"),
        (no_special, r"puts no special tokens around a text .* bert expects them, such as \[CLS\] and \[SEP\]"),
        (lambda p: change(p, vocab_size=10), r"has ids up to \d+ and the embedding 10 rows"),
        (lambda p: change(p, hidden_size="x"), "hidden_size=x: expected a whole number above 0"),
        (lambda p: change(p, num_attention_heads=5), "5 heads do not divide a width of 32"),
        (lambda p: change(p, num_hidden_layers=0), "num_hidden_layers=0: expected a whole number above 0"),
        (lambda p: change(p, hidden_act="mish"), "hidden_act=mish: expected gelu, gelu_new"),
        (lambda p: change(p, layer_norm_eps=None), "layer_norm_eps=None: expected a number above 0"),
        (lambda p: change(p, is_decoder=True), "is_decoder=True: another network than bert as published"),
        (lambda p: change(p, position_embedding_type="relative_key"), "position_embedding_type=relative_key: another"),
        (lambda p: change(p, model_type="roberta", pad_token_id=None), "pad_token_id=None: expected an id"),
        (
            lambda p: change(p, model_type="deberta-v2"),
            r"model_type deberta-v2; .* \(images\), bert, roberta, xlm-roberta, camembert, gpt2 \(texts\)",
        ),
        (lambda p: (p / "config.json").write_text("[]"), "has no readable config.json"),
        (lambda p: (p / "config.json").write_text("{"), "has no readable config.json"),
        (lambda p: (p / "model.safetensors").unlink(), "has none of model.safetensors"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_another_network_is_refused_in_a_line(tmp_path, harm, said):
    path = folder(tmp_path / "m", "bert")
    harm(path)
    with pytest.raises(UsageError, match=said) as error:
        hugging_face.find(str(path), "hf:m")
    assert "\n" not in str(error.value)


def test_a_cut_file_of_weights_is_refused_in_a_line(tmp_path):
    path = folder(tmp_path / "m", "bert")
    found = hugging_face.find(str(path), "hf:m")
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="not a whole safetensors file"):
        found.tensors()
    at = "encoder.layer.0.attention.self"
    odd = {"embeddings.position_embeddings.weight": (), f"{at}.query.bias": (2,), f"{at}.key.bias": (2, 3)}
    odd |= {f"{at}.value.bias": (2,)}
    save_file({name: torch.zeros(shape) for name, shape in odd.items()}, path / "model.safetensors")
    assert len(found.tensors()) == 4  # who loads it says that nothing fits


def test_a_name_on_the_hub_is_fetched_with_its_tokenizer(tmp_path, monkeypatch):
    from huggingface_hub.errors import EntryNotFoundError

    path, asked = folder(tmp_path / "m", "gpt2"), []

    def fetch(name, file, revision=None):
        asked.append(file)
        if not (path / file).is_file():
            raise EntryNotFoundError(file)
        return str(path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    found = hugging_face.find("org/name", "hf:org/name")
    assert asked == ["config.json", "tokenizer.json", "model.safetensors"] and found.network.startswith("text:gpt2?")

"""Small folders as transformers writes them: config.json, model.safetensors and tokenizer.json, weights by chance."""

import json

import torch
from safetensors.torch import save_file

TEXTS = ["the cat sat", "a dog", "on the mat the cat and a dog sat", "no cat and no dog and no mat", "x"]
WIDTH, DEPTH, HEADS, MLP, POSITIONS = 32, 3, 4, 48, 24
BEHIND = {"bert": 0, "roberta": 2, "gpt2": 0}  # rows of the table of positions before the first token's


def tokenizer(family):
    """WordPiece in lower case with [CLS] and [SEP], or bytes with <s> and </s>, or bytes alone."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if family == "bert":
        own = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        own.normalizer, own.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=special, show_progress=False)
        own.train_from_iterator(TEXTS, trainer)
        ends = [(name, own.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        own.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
        return own
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"] if family == "roberta" else ["<|endoftext|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    own.train_from_iterator(TEXTS, trainer)
    if family == "roberta":
        own.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        own.post_processor = processors.ByteLevel(trim_offsets=False)
    return own


def config(family, vocab):
    """As in the published files, names of sizes of GPT-2 too."""
    if family == "gpt2":
        return {"model_type": family, "n_embd": WIDTH, "n_layer": DEPTH, "n_head": HEADS, "n_inner": MLP,
                "n_positions": POSITIONS, "vocab_size": vocab, "activation_function": "gelu_new"}  # fmt: skip
    own = {"model_type": family, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    own |= {"intermediate_size": MLP, "max_position_embeddings": POSITIONS, "vocab_size": vocab, "layer_norm_eps": 1e-5}
    return own | {"pad_token_id": {"bert": 0, "roberta": 1}[family], "type_vocab_size": 2, "hidden_act": "gelu"}


def state(family, vocab):
    """Tensors by the names of transformers, as written down here."""
    draw = torch.Generator().manual_seed(0)

    def chance(*shape):
        return 0.3 * torch.randn(*shape, generator=draw)

    found = {}
    if family == "gpt2":
        found |= {"wte.weight": chance(vocab, WIDTH), "wpe.weight": chance(POSITIONS, WIDTH)}
        for i in range(DEPTH):
            sizes = {"attn.c_attn": (WIDTH, 3 * WIDTH), "attn.c_proj": (WIDTH, WIDTH), "mlp.c_fc": (WIDTH, MLP)}
            for name, shape in (sizes | {"mlp.c_proj": (MLP, WIDTH)}).items():
                found |= {f"h.{i}.{name}.weight": chance(*shape), f"h.{i}.{name}.bias": chance(shape[1])}
            norms = [f"h.{i}.ln_1", f"h.{i}.ln_2"]
            found |= {f"{name}.{what}": chance(WIDTH) for name in norms for what in ("weight", "bias")}
            found[f"h.{i}.attn.bias"] = torch.ones(1, 1, POSITIONS, POSITIONS)  # of older files
        return found | {"ln_f.weight": chance(WIDTH), "ln_f.bias": chance(WIDTH)}
    for name, rows in (("word", vocab), ("position", POSITIONS), ("token_type", 2)):
        found[f"embeddings.{name}_embeddings.weight"] = chance(rows, WIDTH)
    found |= {f"embeddings.LayerNorm.{what}": chance(WIDTH) for what in ("gamma", "beta")}  # of older files
    for i in range(DEPTH):
        at = f"encoder.layer.{i}"
        sizes = {f"attention.self.{name}": (WIDTH, WIDTH) for name in ("query", "key", "value")}
        sizes |= {"attention.output.dense": (WIDTH, WIDTH), "intermediate.dense": (MLP, WIDTH)}
        for name, shape in (sizes | {"output.dense": (WIDTH, MLP)}).items():
            found |= {f"{at}.{name}.weight": chance(*shape), f"{at}.{name}.bias": chance(shape[0])}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found |= {f"{at}.{name}.{what}": chance(WIDTH) for what in ("weight", "bias")}
    found["pooler.dense.weight"] = chance(WIDTH, WIDTH)
    return {f"{family}.{key}": value for key, value in found.items()} | {"cls.predictions.bias": chance(vocab)}


def folder(path, family):
    """A folder that was written without transformers; gives its path."""
    path.mkdir(exist_ok=True)
    own = tokenizer(family)
    (path / "tokenizer.json").write_text(own.to_str())
    vocab = own.get_vocab_size()
    (path / "config.json").write_text(json.dumps(config(family, vocab)))
    save_file(state(family, vocab), path / "model.safetensors")
    return path


def padded(path, texts, size, pad):
    """Ids and mask as the folder's own tokenizer gives them: special tokens around `size` tokens, padded behind."""
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(path / "tokenizer.json"))
    special = len(own.encode("", add_special_tokens=True).ids)
    own.enable_truncation(size + special)
    own.enable_padding(pad_id=pad)
    found = own.encode_batch(texts)
    return torch.tensor([one.ids for one in found]), torch.tensor([one.attention_mask for one in found]).bool()

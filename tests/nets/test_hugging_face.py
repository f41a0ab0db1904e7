"""Folders of the Hugging Face hub: what is built computes what its own library computes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from gssl.errors import UsageError
from gssl.nets import foreign, hugging_face
from gssl.nets.foreign_names import joined, split

timm = pytest.importorskip("timm")


def folder(path, config, state, processor=None):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    save_file(
        {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()},
        path / "model.safetensors",
    )
    if processor:
        (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return path


def loaded(found):
    """The network with the folder's weights: nothing missing, nothing left over but a classifier."""
    net = foreign.TimmBackbone(found.name, found.preprocessing["size"])
    missing, unexpected = net.net.load_state_dict(found.tensors(), strict=False)
    assert not missing and all(key.startswith(("head", "fc", "classifier")) for key in unexpected)
    return net.eval()


def test_timms_own_folder_is_timms_network(tmp_path) -> None:
    """Written by timm itself: its shape, its preprocessing and its normalisation."""
    from timm.models import save_for_hf

    torch.manual_seed(0)
    theirs = timm.create_model("test_vit", img_size=96, num_classes=5).eval()
    save_for_hf(theirs, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": [0.4] * 3, "std": [0.3] * 3, "crop_pct": 0.9, "interpolation": "bilinear"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = hugging_face.find(str(tmp_path), "hf:x")
    assert split(found.name) == ("test_vit.r160_in1k", {"img_size": 96, "global_pool": "token"})
    assert found.preprocessing == {"size": 96, "fit": "short", "crop": 0.9, "interpolation": "bilinear"}
    assert found.input == {"mean": [0.4] * 3, "std": [0.3] * 3}
    net, x = loaded(found), torch.rand(2, 3, 96, 96)
    theirs.reset_classifier(0)
    with torch.no_grad():
        assert torch.allclose(net(x), theirs(net.inputs(x)), atol=1e-5)  # sums in another order


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dinov2", "dinov2 with registers", "vit", "clip vision", "clip gelu", "clip"])
def test_transformers_networks_give_transformers_features(tmp_path, kind) -> None:
    import transformers as t

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 56, "patch_size": 14}
    wide = size | {"intermediate_size": 96}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    theirs = {
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**size)),
        "dinov2 with registers": lambda: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**size)),
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**wide, num_labels=3)),
        "clip vision": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**wide)),
        "clip gelu": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**wide, hidden_act="gelu")),
        "clip": lambda: t.CLIPModel(t.CLIPConfig(vision_config=wide, text_config=text)),
    }[kind]().eval()  # fmt: skip
    for weight in theirs.parameters():
        weight.data.normal_(0, 0.2)
    theirs.save_pretrained(tmp_path)
    found = hugging_face.find(str(tmp_path), "hf:x")
    net, x = loaded(found), torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        pixels = net.inputs(x)
        if kind.startswith("clip"):
            tower = theirs.vision_model if kind == "clip" else theirs
            wanted = tower(pixel_values=pixels).pooler_output
        else:
            tower = theirs.vit if kind == "vit" else theirs
            wanted = tower(pixel_values=pixels).last_hidden_state[:, 0]
        torch.testing.assert_close(net(x), wanted, atol=1e-5, rtol=1e-5)


def test_queries_keys_and_values_become_one_and_the_rest_is_left_behind(tmp_path) -> None:
    """By names written down here, without transformers."""
    torch.manual_seed(0)
    options = {"embed_dim": 32, "depth": 1, "num_heads": 4, "img_size": 28}
    name = joined("vit_small_patch14_dinov2", options)
    own = foreign.TimmBackbone(name, 28).eval()
    state = own.net.state_dict()
    q, k, v = state["blocks.0.attn.qkv.weight"].chunk(3)
    qb, kb, vb = state["blocks.0.attn.qkv.bias"].chunk(3)
    attention = "encoder.layer.0.attention.attention"
    theirs = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.mask_token": torch.zeros(1, 32),
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        f"{attention}.query.weight": q, f"{attention}.query.bias": qb,
        f"{attention}.key.weight": k, f"{attention}.key.bias": kb,
        f"{attention}.value.weight": v, f"{attention}.value.bias": vb,
        "encoder.layer.0.attention.output.dense.weight": state["blocks.0.attn.proj.weight"],
        "encoder.layer.0.attention.output.dense.bias": state["blocks.0.attn.proj.bias"],
        "encoder.layer.0.layer_scale1.lambda1": state["blocks.0.ls1.gamma"],
        "encoder.layer.0.layer_scale2.lambda1": state["blocks.0.ls2.gamma"],
        "layernorm.weight": state["norm.weight"], "layernorm.bias": state["norm.bias"],
        "pooler.dense.weight": torch.zeros(32, 32),
    }  # fmt: skip
    for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
        for kind in ("weight", "bias"):
            theirs[f"encoder.layer.0.{part}.{kind}"] = state[f"blocks.0.{part}.{kind}"]
    config = {"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    config |= {"image_size": 28, "patch_size": 14}
    processor = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}, "resample": 2}
    found = hugging_face.find(
        str(folder(tmp_path / "m", config, theirs, processor | {"image_mean": [0.1] * 3, "image_std": [0.2] * 3})), "m"
    )
    assert split(found.name)[1] == options | {"patch_size": 14}
    assert found.preprocessing == {"size": 28, "fit": "short", "crop": 0.875, "interpolation": "bilinear"}
    assert found.input == {"mean": [0.1] * 3, "std": [0.2] * 3}
    net, x = loaded(found), torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        assert torch.allclose(net(x), own(x), atol=1e-5)


def test_positions_are_interpolated_to_the_size_of_the_processor(tmp_path) -> None:
    config = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    own = foreign.TimmBackbone("vit_base_patch16_224?embed_dim=32&depth=1&num_heads=4&img_size=64", 64)
    state = {key.replace("attn.qkv", "attn.q"): value for key, value in own.net.state_dict().items()}
    for key in [key for key in state if ".attn.q." in key]:
        for part, value in zip("qkv", state.pop(key).chunk(3), strict=True):
            state[key.replace(".attn.q.", f".attn.{part}.")] = value
    place = folder(tmp_path / "m", config | {"image_size": 64}, state, {"size": {"height": 32, "width": 32}})
    found = hugging_face.find(str(place), "m")
    assert found.preprocessing["size"] == 32 and found.preprocessing["fit"] == "squash"
    assert found.tensors()["pos_embed"].shape == (1, 5, 32) and loaded(found)(torch.rand(1, 3, 32, 32)).shape == (1, 32)


def test_what_is_no_model_is_refused_in_one_line(tmp_path, monkeypatch) -> None:
    place = folder(tmp_path / "m", {"model_type": "llama"}, {"x": torch.zeros(1)})
    with pytest.raises(
        UsageError, match="is of model_type llama; known are networks of timm, and of transformers dinov2"
    ):
        hugging_face.find(str(place), "hf:m")
    (place / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="has none of model.safetensors"):
        hugging_face.find(str(place), "hf:m")
    (place / "config.json").write_text("{")
    with pytest.raises(UsageError, match="no readable config.json"):
        hugging_face.find(str(place), "hf:m")
    with pytest.raises(UsageError, match="no such folder; expected hf:ORG/NAME of the hub, or a folder"):
        hugging_face.find("nowhere", "hf:nowhere")
    import huggingface_hub

    def offline(*args, **kwargs):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(UsageError) as error:
        hugging_face.find("org/name", "hf:org/name")
    assert str(error.value) == (
        "weights=hf:org/name: cannot fetch it (no network); where there is no network, fetch it elsewhere (hf download"
        " org/name --local-dir FOLDER) and give the folder: weights=hf:FOLDER"
    )


def test_a_name_on_the_hub_is_fetched_file_by_file(tmp_path, monkeypatch) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    place = folder(tmp_path / "m", {"architecture": "test_vit"}, foreign.TimmBackbone("test_vit", 160).net.state_dict())
    asked = []

    def fetch(name, file, revision=None):
        asked.append((name, file, revision))
        if not (place / file).is_file():
            raise EntryNotFoundError(file)
        return str(place / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    found = hugging_face.find("org/name@v2", "hf:org/name@v2")
    assert {name for name, _, _ in asked} == {"org/name"} and {revision for _, _, revision in asked} == {"v2"}
    assert [file for _, file, _ in asked] == ["config.json", "preprocessor_config.json", "model.safetensors"]
    assert found.name == "test_vit" and set(found.tensors()) == set(load_file(place / "model.safetensors"))

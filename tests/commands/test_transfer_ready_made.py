"""A ready-made network is evaluated at its own size and at data.size; folds choose; features are computed once."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gssl.commands import embed, transfer
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import probing
from gssl.nets import foreign

timm = pytest.importorskip("timm")

OWN = {"size": 160, "fit": "short", "crop": 0.95, "interpolation": "bilinear"}  # as timm says of test_resnet
PERIODS = {"fine": 2, "finer": 4, "coarse": 6}


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Classes that differ in the period of their stripes alone: at 16 px all are grey."""
    root, rng = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for name, period in PERIODS.items():
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                line = ((np.arange(176) + rng.integers(period)) % period < period // 2) * 200
                noise = rng.integers(0, 40, (170, 176, 3)) + np.array(line, dtype=int)[None, :, None]
                Image.fromarray((noise + 10).astype(np.uint8)).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(foreign._create("test_resnet", False).state_dict(), file)
    return f"weights=timm:test_resnet@{file}"


@pytest.fixture
def run(tiny, tmp_path, stripes, weights):
    def make(name, *overrides):
        words = ["data=imagefolder", f"data.root={stripes}", "labels_per_class=[1,4]", "fractions=[]", "probe.knn.k=3"]
        transfer.main(tiny("transfer", weights, *words, *overrides), tmp_path / name)
        return read_json(tmp_path / name / "result.json")

    return make


def test_the_size_is_chosen_on_folds_and_pixels_come_from_the_files(run, capsys) -> None:
    scores = run("t", "probe.use=[knn,linear,fewshot,cluster]", "probe.fewshot.shots=[1,4]")["scores"]
    assert "images are read at 160 and 16 px, the size is chosen on folds" in capsys.readouterr().err
    for score in scores:
        compared = score["labels_per_class"] == 4
        assert score["preprocessing"] == OWN and score["chosen"]["size"] == 160
        assert (
            "sizes" in score
        ) == compared  # one label per class leaves nothing to choose on, clusters nothing to ask
        if compared:
            assert set(score["sizes"]) == {"160", "16"} and score["sizes"]["160"] > score["sizes"]["16"]
    knn = [s["accuracy"] for s in scores if s["probe"] == "knn" and s["labels_per_class"] == 4]
    assert np.mean(knn) > 0.9  # what cannot be told at 16 px


def test_a_list_and_a_rule_in_place_of_the_choice(run, capsys) -> None:
    one = run("data", "probe.sizes=[data]", "probe.use=[knn]")["scores"]
    assert {s["preprocessing"]["fit"] for s in one} == {"centre"} and {s["chosen"]["size"] for s in one} == {16}
    assert "sizes" not in one[-1] and "images are read at" not in capsys.readouterr().err
    assert np.mean([s["accuracy"] for s in one]) < 0.8
    three = run("three", "probe.sizes=[96,own,data]", "probe.size_one_shot=data", "probe.use=[knn]")["scores"]
    assert three[0]["labels_per_class"] == 1 and three[0]["chosen"]["size"] == 16
    assert list(three[-1]["sizes"]) == ["96", "160", "16"]


def test_a_second_run_computes_no_feature_again(run, monkeypatch) -> None:
    words = ("probe.use=[knn,linear]", "draws=3")
    first = run("a", *words, "seed=3")
    monkeypatch.setattr(probing, "extract", lambda *a: pytest.fail("computed again"))
    assert [s["correct"] for s in run("b", *words, "seed=3")["scores"]] == [s["correct"] for s in first["scores"]]


def test_what_has_no_size_of_its_own_is_as_before(run) -> None:
    for source in ("random", "pixels"):
        scores = run(source, f"weights={source}", "probe.use=[linear]")["scores"]
        assert not any({"preprocessing", "sizes"} & set(s) or "size" in s["chosen"] for s in scores)


@pytest.mark.long
def test_fine_tuning_and_menus_at_the_size_that_the_linear_probe_chose(run, tmp_path, stripes) -> None:
    words = ("labels_per_class=[4]", "probe.use=[adapted,finetune]", "probe.finetune.folds=3", "diagnose.pictures=true")
    result = run("t", *words, "diagnose.corruptions=true")
    (tuned,) = (s for s in result["scores"] if s["probe"] == "finetune")
    assert tuned["chosen"]["size"] == 160 and set(tuned["sizes"]) == {"160", "16"}
    (menu,) = (s for s in result["scores"] if s["probe"] == "adapted")
    assert menu["chosen"]["size"] == 160 and set(menu["validated"]) == {"linear", "finetune"}
    assert result["corruptions"]["probes"] and (tmp_path / "t" / "pictures" / "saliency.png").is_file()
    text = read_json(tmp_path / "t" / "weights" / "finetuned.json")
    assert (text["image_size"], text["preprocessing"]) == (160, OWN)
    # its encoder is embedded with as it was fine-tuned: at 160 px
    made = embed.embed(tmp_path / "t", stripes / "test" / "fine", tmp_path / "e.npz", device="cpu")
    assert made["images"] == 6 and made["dim"] == foreign.TimmBackbone("test_resnet", 160).dim
    left = run("data", *words[:3], "probe.size_trained=data")["scores"]
    assert {s["chosen"]["size"] for s in left if s["probe"] == "finetune"} == {16}


def test_fixed_sizes_that_a_network_cannot_read_are_refused(tiny, tmp_path, weights, monkeypatch) -> None:
    monkeypatch.setattr(foreign.TimmBackbone, "fits", lambda self, size: size != 33)
    with pytest.raises(UsageError, match=r"probe.sizes: timm:test_resnet .* cannot read images of 33 pixels"):
        transfer.main(tiny("transfer", weights, "probe.sizes=[33]", "probe.use=[knn]"), tmp_path / "t")

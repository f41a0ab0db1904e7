"""Self-supervision on a GAN's images: it is these that it learns from, and what cannot be is said first."""

import numpy as np
import pytest
import torch

from gssl.commands import pretrain_ssl, train_gan
from gssl.data import load_data
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import synthetic
from gssl.schemas import Synthetic


@pytest.fixture(scope="module")
def gan(tmp_path_factory, pictures):
    from gssl.config.composing import compose

    path = tmp_path_factory.mktemp("runs") / "gan"
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "gan.batch_size=16"]
    words += ["gan.latent=8", "gan.width=4", "evaluator=random", "budget.steps=3", "engine.progress=false"]
    train_gan.main(compose("train-gan", words), path)
    return path


def test_as_many_images_without_labels_and_the_seed_decides(gan, tiny):
    cfg = tiny("pretrain-ssl")
    real = load_data(cfg.data).pretrain
    sampler = synthetic.find_maker(Synthetic(run=str(gan), images=None, truncation=None), torch.device("cpu"))
    assert sampler is not None
    made = [
        synthetic.images(sampler, Synthetic(run=str(gan), images=None, truncation=None), real, 16, seed)
        for seed in (0, 0, 1)
    ]
    assert len(made[0]) == len(real) and not made[0].classes and set(made[0].labels) == {-1}
    assert made[0].hash == made[1].hash != made[2].hash
    assert len(np.unique(made[0].image_hashes())) > 0.9 * len(real)  # not one image over and over
    assert not set(made[0].image_hashes().tolist()) & set(real.image_hashes().tolist())
    assert len(synthetic.images(sampler, Synthetic(run=str(gan), images=7, truncation=None), real, 16, 0)) == 7
    with pytest.raises(UsageError, match="colour images of 16 px, the data are colour at data.size=32"):
        synthetic.images(sampler, Synthetic(run=str(gan), images=None, truncation=None), real, 32, 0)
    assert synthetic.find_maker(Synthetic(run=None, images=None, truncation=None), torch.device("cpu")) is None


def test_it_learns_from_them_and_not_from_the_real_ones(gan, tiny, tmp_path):
    results = {}
    for name, more in {"real": (), "made": (f"generated.run={gan}",)}.items():
        pretrain_ssl.main(tiny("pretrain-ssl", *more), tmp_path / name)
        results[name] = read_json(tmp_path / name / "result.json")
    real, made = results["real"], results["made"]
    assert "generated" not in real and made["generated"]["method"] == "dcgan"
    assert made["generated"]["images"] == 108 and made["labels_used"] is False
    assert real["weights"]["backbone"]["sha256"] != made["weights"]["backbone"]["sha256"]
    assert read_json(tmp_path / "made" / "status.json")["inputs"]["generator"] == made["generated"]["sha256"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generated.run=nowhere",), "generated.run=nowhere: no such directory"),
        (("generated.run={gan}", "ssl=supervised"), "ssl=supervised reads labels"),
    ],
)
def test_what_cannot_be_is_a_usage_error(gan, tiny, tmp_path, words, said):
    with pytest.raises(UsageError, match=said):
        pretrain_ssl.main(tiny("pretrain-ssl", *(w.format(gan=gan) for w in words)), tmp_path / "run")
    assert not (tmp_path / "run" / "status.json").exists()

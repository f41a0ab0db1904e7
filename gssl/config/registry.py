"""Names to classes: one dict per family, one line per name. What is named here is imported when it is needed.

A new SSL or GAN method is one file in its room, one YAML in `conf/`, one schema and one line here.
"""

from importlib import import_module
from typing import Any, NamedTuple

from gssl.config import schema


class Entry(NamedTuple):
    """Where a class is (`module:Class`) and the schema of its configuration."""

    where: str
    schema: type


SSL: dict[str, Entry] = {
    "simclr": Entry("gssl.ssl.simclr:SimCLR", schema.SimCLR),
    "supervised": Entry("gssl.ssl.supervised:Supervised", schema.Supervised),
}

GAN: dict[str, Entry] = {
    "dcgan": Entry("gssl.gan.dcgan:DCGAN", schema.DCGAN),
}

BACKBONE: dict[str, str] = {
    "convnet": "gssl.nets.convnet:ConvNet",
    "resnet18": "gssl.nets.resnet:ResNet",
    "resnet50": "gssl.nets.resnet:ResNet",
    "vit_tiny": "gssl.nets.vit:ViT",
}

DATA: dict[str, str] = {
    "mnist5k": "gssl.data.sources.mnist5k:read",
    "mnist": "gssl.data.sources.torchvision:read",
    "fashion_mnist": "gssl.data.sources.torchvision:read",
    "cifar10": "gssl.data.sources.torchvision:read",
    "cifar100": "gssl.data.sources.torchvision:read",
    "svhn": "gssl.data.sources.torchvision:read",
    "stl10": "gssl.data.sources.torchvision:read",
    "imagefolder": "gssl.data.sources.imagefolder:read",
}

PROBE: dict[str, str] = {
    "knn": "gssl.probe.knn:Knn",
    "linear": "gssl.probe.linear:Linear",
    "finetune": "gssl.probe.finetune:Finetune",
}

COMMAND: dict[str, Entry] = {
    "train-gan": Entry("gssl.commands.train_gan:main", schema.TrainGAN),
    "pretrain-ssl": Entry("gssl.commands.pretrain_ssl:main", schema.PretrainSSL),
    "transfer": Entry("gssl.commands.transfer:main", schema.Transfer),
    "compare": Entry("gssl.commands.compare:main", schema.Compare),
}

FAMILIES: dict[str, dict[str, Entry]] = {"ssl": SSL, "gan": GAN}


def load(where: str) -> Any:
    """The object at `module:name`. Raises LookupError where the registry names what is not there."""
    module, name = where.split(":")
    missing = LookupError(f"gssl/config/registry.py names {where}, which does not exist")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise missing if error.name == module else error from error
    if not hasattr(found, name):
        raise missing
    return getattr(found, name)

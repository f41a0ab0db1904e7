"""Names to classes: one dict per family, one line per name. What is named here is imported when it is needed.

A new SSL or GAN method is one file in its room, one YAML in `conf/`, one schema and one line here.
"""

from typing import NamedTuple

from gssl.names import load as load
from gssl.schemas import gan, ssl
from gssl.schemas.executors import EXECUTORS
from gssl.schemas.section import Section


class Entry(NamedTuple):
    """Where a class is (`module:Class`), the schema of its configuration, and what a command line must know of it."""

    where: str
    schema: type[Section]
    labels: bool = False  # reads them: an upper reference in every report, never ranked
    vit: bool = False  # works on patches: needs a ViT as its backbone
    # what it reads of a row: "video" is several frames of a clip, "text" a text, "audio" a sound, "caption" an image
    # with captions, "paired" two images, "domain" an image of one of two domains
    column: str = "image"
    sounds: bool = False  # of images: spectrograms will do, which have one channel and are no squares


class Probe(NamedTuple):
    """Where a probe's class is, and what other code must know of it. No code asks for a probe by its name.

    reads: pooled (features of the last stage) | stages (pooled features of all stages) | dense (maps of the encoder) |
    clip:POOLING (features of a clip's frames, pooled over time, `gssl.probe.clips`) | network (which the probe trains)
    | method (the whole method of a run, such as a GAN with its generator) | menu (what the probe that it chooses among
    others reads).
    """

    where: str
    reads: str
    tasks: tuple[str, ...] = ("classification",)  # that it serves
    labels: bool = True  # whether it reads any
    chooses: bool = False  # settings, by validation on folds of its labels
    own_budgets: str | None = None  # key of its section with label budgets of its own, labels per class
    also: str | None = None  # a probe whose section its class is given beside its own
    by_task: dict[str, str] | None = None  # where it is for other tasks than the first
    linear_head: bool = False  # its scores are linear in the pooled features of the last stage, so gradients exist
    methods: tuple[str, ...] | None = None  # whose runs it reads; None: all that have a network
    from_scratch: bool = False  # trains a network without pretraining where the other probes read features
    by_steps: bool = False  # trains a head on frozen maps as networks are trained: in all processes, by the engine
    control: bool = False  # says what a source is worth without something; no model to use
    groups: bool = False  # is told what belongs together, so that its folds tear no group

    @property
    def bare(self) -> bool:
        """Whether what it reads can be had without a network, too."""
        return self.reads in ("pooled", "dense") or self.pooling is not None

    @property
    def pooling(self) -> str | None:
        """Over time, of features of clips; None: it reads no clips."""
        kind, _, pooling = self.reads.partition(":")
        return pooling if kind == "clip" else None


SSL: dict[str, Entry] = {
    "simclr": Entry("gssl.ssl.simclr:SimCLR", ssl.SimCLR, sounds=True),
    "byol": Entry("gssl.ssl.byol:BYOL", ssl.BYOL, sounds=True),
    "simsiam": Entry("gssl.ssl.simsiam:SimSiam", ssl.SimSiam, sounds=True),
    "dino": Entry("gssl.ssl.dino:DINO", ssl.DINO),
    "moco": Entry("gssl.ssl.moco:MoCo", ssl.MoCo, sounds=True),
    "nnclr": Entry("gssl.ssl.nnclr:NNCLR", ssl.NNCLR, sounds=True),
    "swav": Entry("gssl.ssl.swav:SwAV", ssl.SwAV, sounds=True),
    "supcon": Entry("gssl.ssl.supcon:SupCon", ssl.SupCon, labels=True, sounds=True),
    "supervised": Entry("gssl.ssl.supervised:Supervised", ssl.Supervised, labels=True, sounds=True),
    "barlow_twins": Entry("gssl.ssl.barlow_twins:BarlowTwins", ssl.BarlowTwins, sounds=True),
    "vicreg": Entry("gssl.ssl.vicreg:VICReg", ssl.VICReg, sounds=True),
    "lejepa": Entry("gssl.ssl.lejepa:LeJEPA", ssl.LeJEPA, sounds=True),
    "rotation": Entry("gssl.ssl.rotation:Rotation", ssl.Rotation),
    "jigsaw": Entry("gssl.ssl.jigsaw:Jigsaw", ssl.Jigsaw),
    "relative_location": Entry("gssl.ssl.relative_location:RelativeLocation", ssl.RelativeLocation),
    "mae": Entry("gssl.ssl.mae:MAE", ssl.MAE, vit=True, sounds=True),
    "simmim": Entry("gssl.ssl.simmim:SimMIM", ssl.SimMIM),
    "ijepa": Entry("gssl.ssl.ijepa:IJEPA", ssl.IJEPA, vit=True),
    "colorization": Entry("gssl.ssl.colorization:Colorization", ssl.Colorization),
    "denoising": Entry("gssl.ssl.denoising:Denoising", ssl.Denoising),
    "inpainting": Entry("gssl.ssl.inpainting:Inpainting", ssl.Inpainting),
    "vae": Entry("gssl.ssl.vae:VAE", ssl.VAE),
    "distill": Entry("gssl.ssl.distill:Distill", ssl.Distill),
    "next_frame": Entry("gssl.ssl.next_frame:NextFrame", ssl.NextFrame, column="video"),
    "frame_order": Entry("gssl.ssl.frame_order:FrameOrder", ssl.FrameOrder, column="video"),
    "neighbours": Entry("gssl.ssl.neighbours:Neighbours", ssl.Neighbours, column="video"),
    "clm": Entry("gssl.ssl.clm:CLM", ssl.CLM, column="text"),
    "mlm": Entry("gssl.ssl.mlm:MLM", ssl.MLM, column="text"),
    "simcse": Entry("gssl.ssl.simcse:SimCSE", ssl.SimCSE, column="text"),
    "chat": Entry("gssl.ssl.chat:Chat", ssl.Chat, column="text"),
    "clip": Entry("gssl.ssl.clip:CLIP", ssl.Captioned, column="caption"),
    "siglip": Entry("gssl.ssl.siglip:SigLIP", ssl.SigLIP, column="caption"),
    "caption": Entry("gssl.ssl.caption:Caption", ssl.Caption, column="caption"),
    "seq2seq": Entry("gssl.ssl.seq2seq:Seq2Seq", ssl.Seq2Seq, column="text"),
    "tube_mae": Entry("gssl.ssl.tube_mae:TubeMAE", ssl.TubeMAE, vit=True, column="video"),
}

GAN: dict[str, Entry] = {
    "dcgan": Entry("gssl.gan.adversarial:GAN", gan.GAN),
    "lsgan": Entry("gssl.gan.adversarial:GAN", gan.GAN),
    "sngan": Entry("gssl.gan.adversarial:GAN", gan.GAN),
    "wgan_gp": Entry("gssl.gan.adversarial:GAN", gan.GAN),
    "r3gan": Entry("gssl.gan.adversarial:GAN", gan.GAN),
    "sagan": Entry("gssl.gan.adversarial:GAN", gan.GAN),
    "acgan": Entry("gssl.gan.adversarial:GAN", gan.GAN, labels=True),
    "projection": Entry("gssl.gan.adversarial:GAN", gan.GAN, labels=True),
    "ssgan": Entry("gssl.gan.adversarial:GAN", gan.GAN),
    "bigan": Entry("gssl.gan.bigan:BiGAN", gan.BiGAN),
    "specgan": Entry("gssl.gan.spectrogram:SpecGAN", gan.GAN, column="audio"),
    "specgan_projection": Entry("gssl.gan.spectrogram:SpecGAN", gan.GAN, labels=True, column="audio"),
    "textgan": Entry("gssl.gan.text:TextGAN", gan.GAN, column="text"),
    "pix2pix": Entry("gssl.gan.pix2pix:Pix2Pix", gan.Pix2Pix, column="paired"),
    "cyclegan": Entry("gssl.gan.cyclegan:CycleGAN", gan.CycleGAN, column="domain"),
    "cut": Entry("gssl.gan.cut:CUT", gan.CUT, column="domain"),
    "videogan": Entry("gssl.gan.video:VideoGAN", gan.VideoGAN, column="video"),
}

TRANSLATED = ("paired", "domain")  # columns of methods that make images from images
OF_CLASSES = ("classification", "text", "audio")  # tasks whose rows have one class each, and are read by themselves
ACTION = "gssl.probe.linear:Linear"  # on features of clips, pooled over time (`gssl.probe.clips`)
PROBE: dict[str, Probe] = {
    "knn": Probe("gssl.probe.knn:Knn", "pooled", OF_CLASSES),
    "linear": Probe("gssl.probe.linear:Linear", "pooled", (*OF_CLASSES, "fake"), chooses=True, linear_head=True),
    "linear_multilayer": Probe("gssl.probe.multilayer:LinearMultilayer", "stages", chooses=True, also="linear"),
    "fewshot": Probe("gssl.probe.fewshot:FewShot", "pooled", OF_CLASSES, own_budgets="shots"),
    "cluster": Probe("gssl.probe.cluster:Cluster", "pooled", OF_CLASSES, labels=False),
    "finetune": Probe(
        "gssl.probe.finetune:Finetune",
        "network",
        (*OF_CLASSES, "segmentation", "detection", "fake"),
        chooses=True,
        by_task={"segmentation": "gssl.probe.masks:finetune", "detection": "gssl.probe.boxes:finetune"},
        linear_head=True,
        from_scratch=True,
    ),
    "fixmatch": Probe("gssl.probe.fixmatch:FixMatch", "network", chooses=True, linear_head=True),
    "segment": Probe("gssl.probe.segment:Segment", "dense", ("segmentation",), chooses=True),
    "detect": Probe("gssl.probe.detect:Detect", "dense", ("detection",), chooses=True, also="finetune", by_steps=True),
    **{
        f"action_{pooling}": Probe(ACTION, f"clip:{pooling}", ("action",), chooses=True, groups=True)
        for pooling in ("frame", "mean", "motion", "order")
    },
    "action_shuffled": Probe(ACTION, "clip:shuffled", ("action",), chooses=True, groups=True, control=True),
    "anomaly": Probe("gssl.probe.anomaly:Neighbours", "dense", ("anomaly",)),
    "anomaly_gaussian": Probe("gssl.probe.anomaly:Gaussian", "dense", ("anomaly",)),
    "anomaly_gan": Probe("gssl.probe.anomaly_gan:Reconstruction", "method", ("anomaly",), methods=("bigan",)),
    "anomaly_discriminator": Probe(
        "gssl.probe.anomaly_gan:Discriminator",
        "method",
        ("anomaly",),
        methods=tuple(name for name, entry in GAN.items() if not entry.labels and entry.column not in TRANSLATED),
    ),
    "adapted": Probe("gssl.probe.adapted:Adapted", "menu", (*OF_CLASSES, "segmentation", "detection", "action")),
}

FAMILIES: dict[str, dict[str, Entry]] = {"ssl": SSL, "gan": GAN}
# Sections of which each choice has a schema of its own, by the `name` in it.
CHOSEN: dict[str, dict[str, type[Section]]] = {
    **{family: {name: entry.schema for name, entry in methods.items()} for family, methods in FAMILIES.items()},
    "executor": dict(EXECUTORS),
}


def reads_labels(name: str | None) -> bool:
    """Whether `name` is a method that reads the labels of all training images; False for what is no method."""
    return any(name in methods and methods[name].labels for methods in FAMILIES.values())

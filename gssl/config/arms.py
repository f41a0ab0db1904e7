"""What takes part in a comparison, from how it is written in `arms`. No torch here.

simclr, dcgan, supervised          a method by name
scratch, random, pixels, majority  what every table needs beside them; position: where a pixel lies, for masks
pca, kmeans                        unsupervised learning without a network
efficientnet_lite0                 a ready-made network, trained on ImageNet
torchvision:resnet18, timm:NAME    published weights; hf:ORG/NAME, and short names such as dinov2_vits14
runs/pretrain_ssl/RUN              a run directory, or a file of weights; a pattern's i-th match is seed i
simclr+dcgan                       a chain: the weights of one are where the next begins
simclr-on-dcgan                    SimCLR on images that the DCGAN made
scratch-with-acgan                 its probes get images of a class-conditional GAN beside the labelled ones
simclr-from-efficientnet_lite0     a ready-made network whose training goes on by SimCLR, on these images
hot@simclr                         any of those that are trained or read, under a name and with overrides of its own
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from gssl.config import registry
from gssl.errors import UsageError
from gssl.names import unknown
from gssl.schemas.classical import NAMES as CLASSICAL
from gssl.schemas.ready_made import READY_MADE, SHORT, WITH_PREFIX, without_prefix

SCRATCH = "scratch"
NO_METHOD = ("scratch", "random", "pixels", "majority", "position")  # arms that train no method
FIXED = (*NO_METHOD, *CLASSICAL)  # what is neither trained by gssl nor read from a file
PUBLISHED = re.compile(rf"torchvision(:\S+)?|(timm|hf):\S+|{'|'.join(READY_MADE)}|({'|'.join(SHORT)})(@\S+)?")
NAME = re.compile(r"[\w.+-]+")
CONV = "text_conv"  # the network that reads probabilities of letters
FROM = "-from-"  # between a method and the ready-made network that it goes on from


@dataclass(frozen=True)
class Arm:
    """One contestant, control or reference.

    stages: methods that are trained one after another, the weights going on; empty where nothing is trained.
    images: the GAN whose images the stages learn from instead of real ones. generator: the GAN whose images stand
    beside the labelled ones. source: what is evaluated where nothing is trained. norm: of its network, where that is
    not the comparison's. start: the published network that the first stage begins with.
    """

    name: str
    stages: tuple[str, ...] = ()
    images: str | None = None
    generator: str | None = None
    source: str | None = None
    norm: str | None = None
    start: str | None = None

    @property
    def budget_fraction(self) -> float:
        """Of the budget, for each of what is trained: all stages together spend what a single method does."""
        return 1 / max(1, len(self.trained))

    @property
    def read(self) -> bool:
        """Whether it is read from a file or a directory that is there."""
        return self.source is not None and self.source not in FIXED and not PUBLISHED.fullmatch(self.source)

    @property
    def family(self) -> str:
        """gan | ssl (of the last stage) | classical | file | none."""
        if self.stages:
            return "gan" if self.stages[-1] in registry.GAN else "ssl"
        return "classical" if self.source in CLASSICAL else "none" if self.source in NO_METHOD else "file"

    @property
    def labels(self) -> bool:
        """Whether any of it reads the labels of all training images: a reference, never ranked."""
        return any(registry.reads_labels(name) for name in self.trained)

    @property
    def trained(self) -> tuple[str, ...]:
        """Every method that a comparison trains for it, in the order of the training."""
        makers = tuple(filter(None, (self.images, self.generator)))
        return (*makers, *self.stages)

    def paths(self) -> list[str]:
        """The matches of a source that is read, numbers in their order; one for all seeds, or one for each."""
        assert self.source is not None
        pattern, prefix = without_prefix(self.source)
        found = glob(str(Path(pattern).expanduser())) if self.read else []
        if prefix is not None:
            found = [f"{path}{WITH_PREFIX}{prefix}" for path in found]
        return sorted(found, key=lambda path: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", path)])


def parse(text: str) -> Arm:
    """The arm that `text` writes. Raises UsageError with what there is."""
    head, at, what = text.partition("@")
    named = bool(at) and bool(NAME.fullmatch(head)) and head not in SHORT  # dinov2_vits14@FILE is no name
    name, what = (head, what) if named else (None, text)
    if (begins := what.partition(FROM))[1] and all(stage in _methods() for stage in begins[0].split("+")):
        found = Arm(name or what, tuple(begins[0].split("+")), start=begins[2])
        _check(found, text)
        return found
    if "/" in what or what.startswith(("~", ".")) or PUBLISHED.fullmatch(what):
        published = bool(PUBLISHED.fullmatch(what))
        found = Arm(name or (what if published else Path(without_prefix(what)[0]).name), source=what)
        _own_name(found, text)
        return found
    base, beside, generator = what.partition("-with-")
    base, learns, images = base.partition("-on-")
    if (beside and not generator) or (learns and not images):
        _refuse(text, "a GAN must stand after -on- and -with-, such as simclr-on-dcgan")
    arm = Arm(name or what, images=images or None, generator=generator or None)
    if base in FIXED:
        if named:  # reports know them by their names
            _refuse(text, f"{base} has one name only; write {what}")
        if images:
            raise UsageError(f"arms: {text}: {base} does not learn from images; write a method before -on-")
        found = Arm(arm.name, (), None, arm.generator, base)
    else:
        stages = tuple(base.split("+"))
        for stage in stages:
            if stage in FIXED:
                _refuse(text, f"{stage} cannot stand in a chain: nothing of it is trained")
            if stage not in _methods():
                raise _unknown(stage, text, _methods() if len(stages) > 1 else None)
        found = Arm(arm.name, stages, arm.images, arm.generator)
    _check(found, text)
    return found


def _methods() -> dict[str, registry.Entry]:
    return {**registry.SSL, **registry.GAN}


def _refuse(text: str, why: str) -> None:
    raise UsageError(f"arms: {text}: {why}")


def _own_name(arm: Arm, text: str) -> None:
    """Reports know methods and controls by their names: nothing else may bear one."""
    if (
        arm.name in {*FIXED, *READY_MADE, *SHORT, *registry.SSL, *registry.GAN}
        and arm.stages != (arm.name,)
        and arm.source != arm.name
    ):
        _refuse(
            text, f"{arm.name} is the name of something else; write another one before the @, such as my_{arm.name}"
        )


def _check(arm: Arm, text: str) -> None:
    _own_name(arm, text)
    if arm.start is not None and not PUBLISHED.fullmatch(arm.start):
        some = ", ".join([*READY_MADE, "torchvision:resnet18", "timm:NAME"])
        _refuse(text, f"a published network must stand after {FROM}, such as {some}")
    if arm.start is not None and arm.stages[0] in registry.GAN:
        _refuse(text, f"{arm.stages[0]} has a discriminator of its own; write a self-supervised method before {FROM}")
    if arm.images and (arm.generator or len(arm.stages) > 1):
        _refuse(text, "one method learns from a GAN's images, and -on- and -with- do not go together")
    for maker in filter(None, (arm.images, arm.generator)):
        if maker not in registry.GAN:
            raise _unknown(maker, text, registry.GAN)
        if (made := {"audio": "sounds", "text": "texts"}.get(registry.GAN[maker].column)) is not None:
            _refuse(
                text, f"{maker} makes {made}, and what learns from a GAN here reads images; leave -on- and -with- out"
            )
    if arm.images and any(stage in registry.GAN for stage in arm.stages):
        _refuse(text, "a GAN learns from real images here; write a self-supervised method before -on-")
    if arm.images and any(registry.reads_labels(stage) for stage in arm.stages):
        _refuse(text, f"{arm.stages[-1]} reads labels, and images of {arm.images} have none; see -with-")
    if arm.generator and not registry.reads_labels(arm.generator):
        given = ", ".join(name for name in registry.GAN if registry.reads_labels(name))
        _refuse(text, f"images of {arm.generator} have no labels; write a class-conditional GAN after -with-: {given}")


def _unknown(name: str, text: str, options: Sequence[str] | dict[str, registry.Entry] | None = None) -> UsageError:
    known = list(options or {*FIXED, *READY_MADE, *SHORT, *registry.SSL, *registry.GAN})
    whole = "" if name == text else f" in {text}"
    return unknown(f"arms: no arm{whole}", name, known)


def read(texts: Sequence[str]) -> list[Arm]:
    """Every arm of a comparison. Raises UsageError, also where two have one name."""
    arms = [parse(text) for text in texts]
    seen: set[str] = set()
    for arm, text in zip(arms, texts, strict=True):
        if arm.name in seen:
            what = text.rpartition("@")[2]
            hint = "" if arm.source in FIXED else f"; give one of them a name, such as other@{what}"
            raise UsageError(f"arms: {arm.name} stands there twice{hint}")
        seen.add(arm.name)
    return arms


def names(texts: Sequence[str]) -> list[str]:
    """The names under which arms stand in claims, overrides and reports."""
    return [arm.name for arm in read(texts)]


METHOD = {"pretrain-ssl": "ssl", "train-gan": "gan"}  # the family of a command's method


def command(method: str) -> str:
    """The command that trains it."""
    return "train-gan" if method in registry.GAN else "pretrain-ssl"


def owner(override: str) -> str:
    """The command that an arm's override is for: probes are transfer's, ssl.* pretrain-ssl's, the rest train-gan's."""
    group = override.lstrip("+~").partition("=")[0].split(".")[0].strip()
    return {"probe": "transfer", "generated": "transfer", "classical": "transfer", "ssl": "pretrain-ssl"}.get(
        group, "train-gan"
    )


def fits(method: str, backbone: str) -> None:
    """Raises UsageError where a method needs another kind of network."""
    family = "gan" if method in registry.GAN else "ssl"
    if family == "gan" and backbone.startswith("timm:"):
        raise UsageError(
            f"{family}={method}: a discriminator is one of our networks; set backbone=convnet, not {backbone}"
        )
    entry = registry.FAMILIES[family][method]
    if entry.column == "text" and (backbone == CONV) != (family == "gan"):
        use = f"backbone={CONV}" if family == "gan" else "backbone=text_small or text_base"
        why = "its discriminator reads letters" if family == "gan" else "learns by a transformer"
        raise UsageError(f"{family}={method}: {why}; set {use}, not {backbone}")
    if entry.vit and not backbone.startswith(("vit", "timm:")):
        raise UsageError(f"{family}={method} works on patches: set backbone=vit_micro or vit_tiny, not {backbone}")


def letters(method: str, tokenizer: str | None) -> None:
    """Raises UsageError where a GAN of letters is given tokens of several."""
    if method in registry.GAN and registry.GAN[method].column == "text" and tokenizer not in ("char", "byte"):
        raise UsageError(
            f"gan={method}: writes one character at each place, and data.tokenizer={tokenizer} has longer tokens; set"
            " data.tokenizer=char, and data.size= to the characters of the longest line, e.g. 32"
        )


def kind(arm: Arm) -> str:
    """The name by which `gssl.config.menus` knows which probes fit an arm."""
    return arm.source if arm.source in FIXED else arm.name


def written(arm: Arm) -> str:
    """The arm as `arms` would write it without its name."""
    base = arm.source or "+".join(arm.stages) + (f"{FROM}{arm.start}" if arm.start else "")
    return base + (f"-on-{arm.images}" if arm.images else "") + (f"-with-{arm.generator}" if arm.generator else "")


def described(arm: Arm, overrides: Sequence[str], labels: bool | None) -> dict[str, Any]:
    """For the report: what an arm is made of. labels: whether it has read them, None where that is not on record."""
    notes = [f"set by hand: {', '.join(overrides)}"] if overrides else []
    if arm.read:
        one = len(arm.paths()) < 2
        notes = ["one network for all seeds: they vary the draws of labels only" if one else "one network per seed"]
    if labels is None:
        notes.append("whether it read labels is not on record")
    elif labels and not arm.labels:
        notes.append("what it comes from has read the labels of all training images")
    elif arm.source in READY_MADE:
        made = READY_MADE[arm.source].learned_from
        notes.append(f"published weights, learned from {made} ({READY_MADE[arm.source].licence}), none of this data's")
    elif arm.source and PUBLISHED.fullmatch(arm.source):
        notes.append("published weights, made with other images and mostly with labels of theirs, none of this data's")
    if arm.start:
        notes.append(f"begins with the published weights of {arm.start}, made with other images than these")
    stages = [{"method": m, "command": command(m), "fraction": arm.budget_fraction} for m in arm.trained]
    about = {"family": arm.family, "stages": stages, "note": "; ".join(notes), "source": arm.source, "labels": labels}
    return about | {"written": written(arm)}

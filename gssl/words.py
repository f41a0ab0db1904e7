"""How the report writes names, numbers and lists."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Protocol

# data sets that are the user's own
FOLDERS = (
    *("imagefolder", "segmentation", "detection", "anomaly", "fake", "paired", "unpaired", "video", "text", "audio"),
    *("imagetext", "hf", "webdataset"),
)

TITLES = {
    "simclr": "SimCLR",
    "moco": "MoCo",
    "nnclr": "NNCLR",
    "swav": "SwAV",
    "byol": "BYOL",
    "simsiam": "SimSiam",
    "dino": "DINO",
    "barlow_twins": "Barlow Twins",
    "vicreg": "VICReg",
    "lejepa": "LeJEPA",
    "mae": "MAE",
    "simmim": "SimMIM",
    "ijepa": "I-JEPA",
    "vae": "VAE",
    "distill": "distillation",
    "clm": "causal language model",
    "mlm": "masked language model",
    "simcse": "SimCSE",
    "clip": "CLIP",
    "siglip": "SigLIP",
    "caption": "captioning",
    "chat": "chat fine-tuning",
    "seq2seq": "sequence to sequence",
    "tfidf": "TF-IDF of words",
    "mfcc": "MFCC",
    "mel_stats": "moments of mel bands",
    "loudness": "length and loudness",
    "supcon": "SupCon",
    "relative_location": "relative location",
    "dcgan": "DCGAN",
    "lsgan": "LSGAN",
    "sngan": "SNGAN",
    "wgan_gp": "WGAN-GP",
    "r3gan": "R3GAN",
    "sagan": "SAGAN",
    "acgan": "ACGAN",
    "projection": "projection GAN",
    "ssgan": "SSGAN",
    "bigan": "BiGAN",
    "pix2pix": "pix2pix",
    "cyclegan": "CycleGAN",
    "cut": "CUT",
    "scratch": "scratch",
    "random": "random features",
    "pixels": "raw pixels",
    "position": "position alone",
    "majority": "most frequent label",
    "pca": "principal components",
    "kmeans": "k-means on patches",
    "supervised": "supervised",
    "torchvision": "ImageNet weights",
    "efficientnet_lite0": "EfficientNet-Lite0 (ImageNet)",
}
PROBES = {
    "adapted": "adapted",
    "knn": "kNN",
    "linear": "linear probe",
    "linear_multilayer": "linear probe on all stages",
    "fewshot": "nearest centroid",
    "cluster": "k-means",
    "finetune": "fine-tuning",
    "fixmatch": "FixMatch",
    "segment": "linear probe on dense features",
    "detect": "head of boxes on frozen dense features",
    "action_frame": "linear probe on one frame",
    "action_mean": "linear probe on the mean of frames",
    "action_motion": "linear probe on motion",
    "action_order": "linear probe on frames in order",
    "action_shuffled": "linear probe on shuffled frames",
    "anomaly": "nearest patches",
    "anomaly_gaussian": "Gaussian of each position",
    "anomaly_gan": "errors of a BiGAN",
    "anomaly_discriminator": "discriminator's logit",
}

# metric: its meaning in a sentence or two that need no statistics, and what one point of it is
MEANINGS = {
    "accuracy": (
        "How many of 100 test images are classified correctly, in percent.",
        "one more of 100 test images classified correctly",
    ),
    "balanced_accuracy": (
        "The accuracy in each class, averaged over the classes: a rare class counts as much as a frequent one.",
        "one more of 100 test images classified correctly, every class counting alike",
    ),
    "mean_iou": (
        "How well predicted regions cover the labelled ones: of each class the pixels that are both predicted and"
        " labelled as it, divided by those that are either, averaged over the classes, in percent.",
        "a hundredth of a perfect overlap in all classes",
    ),
    "image_auroc": (
        "How often an image with a defect gets a higher score than a good one, of 100 pairs of such images; 50 by"
        " guessing.",
        "one more of 100 pairs of a defect and a good image in the right order",
    ),
    "image_ap": (
        "Of the images with the highest scores, how many of 100 have a defect, averaged over all places at which a"
        " defect stands in the order of scores.",
        "a hundredth of a perfect order",
    ),
    "pixel_auroc": (
        "How often a pixel of a defect gets a higher score than a good one, of 100 pairs; most pixels are easy ones.",
        "one more of 100 pairs of pixels in the right order",
    ),
    "fake_auroc": (
        "How often an image of a generator that the detector has not seen scores higher than a real one, of 100 pairs;"
        " 50 by guessing.",
        "one more of 100 pairs of a generated and a real image in the right order",
    ),
    "fake_ap": (
        "Of the images with the highest scores, how many of 100 are generated, averaged over all places at which a"
        " generated one stands in the order of scores.",
        "a hundredth of a perfect order",
    ),
    "fake_accuracy": (
        "How many of 100 images are called rightly, as many real ones as of an unseen generator, at the threshold of"
        " the known generators.",
        "one more of 100 images called rightly",
    ),
    "fake_auroc_jpeg": (
        "The same order of pairs after all images, real and generated, were saved as JPEG.",
        "one more of 100 pairs in the right order",
    ),
    "aupro": (
        "How much of each defect is covered by a map of scores where at most 30% of the good pixels are marked falsely,"
        " averaged over defects and such thresholds, in percent.",
        "a hundredth of all defects",
    ),
    "pixel_accuracy": ("How many of 100 labelled pixels are predicted correctly.", "one more of 100 pixels"),
    "ap": (
        "How well objects are found and their boxes fit: the area under the curve of precision over recall, averaged"
        " over ten strictnesses of fit (IoU .50 to .95) and the classes, in percent.",
        "a hundredth of finding every object, with boxes that fit and none too many",
    ),
    "ap50": (
        "The same where a box is right as soon as it and the object share half of what they cover (IoU .50).",
        "a hundredth of finding every object with a rough box and none too many",
    ),
    "ap75": ("The same at a stricter fit (IoU .75).", "a hundredth of finding every object with a box that fits well"),
    "ar100": (
        "How many of 100 objects the best 100 boxes of each image find, averaged over ten strictnesses of fit and the"
        " classes.",
        "one more of 100 objects found",
    ),
}


class Ends(Protocol):
    """An interval."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def title(arm: str, titles: dict[str, str] | None = None) -> str:
    """An arm's name as it is shown; a variant keeps what tells it apart."""
    kind, bracket, rest = arm.partition("[")
    if not bracket and arm not in (titles or {}):
        if "-with-" in arm:
            base, _, maker = arm.partition("-with-")
            return f"{title(base, titles)} with images of {title(maker, titles)}"
        if "-from-" in arm:
            base, _, start = arm.partition("-from-")
            return f"{title(base, titles)} from {title(start, titles)}"
        if "-on-" in arm:
            base, _, maker = arm.partition("-on-")
            return f"{title(base, titles)} on images of {title(maker, titles)}"
        if "+" in arm:
            return " → ".join(title(stage, titles) for stage in arm.split("+"))
    shown = (titles or {}).get(arm) or (titles or {}).get(kind) or TITLES.get(kind, kind)
    return f"{shown} ({rest[:-1]})" if bracket and arm not in (titles or {}) else shown


def shortened(text: str, most: int) -> str:
    """At most `most` characters: the head and, since variants differ there, more of the tail."""
    if len(text) <= most:
        return text
    head = most // 3
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


def label_budget_text(key: str) -> str:
    """ "10" → "10 labels per class", "5i" → "5 labelled images", "1%" → "1% of the labels", "all" → "all labels".

    `gssl.data.targets.Target.said` calls images what a target calls its rows.
    """
    if key == "all":
        return "all labels"
    if key.endswith("%"):
        return f"{key} of the labels"
    if key.endswith("i"):
        return count(int(key.removesuffix("i")), "labelled image")
    return f"{key} label{'' if key == '1' else 's'} per class" if key != "0" else "no labels"


def by_probe(probe: str | None) -> str:
    """ "linear" → "the linear probe on frozen features", "finetune" → "fine-tuning"."""
    if probe is None:
        return "no probe"
    if probe == "adapted":
        return "whichever way of adapting does best on parts of an arm's own labels held out"
    if probe == "segment":
        return "a linear probe on frozen dense features"
    if probe in ("finetune", "fixmatch"):
        return PROBES[probe]
    if probe == "detect":
        return f"a {PROBES[probe]}"
    name = PROBES.get(probe, f"{probe} probe")
    named = f"the {name}" if name.startswith("linear") else name
    return f"{named}, features frozen" if " on " in name else f"{named} on frozen features"


ONE_SETTING = "fine-tuned with one setting"  # how an arm's note about a grid of one begins


def fixed_by(what: str) -> str:
    """What chose the primary family: plan, reader or rule."""
    if what == "plan":
        return "the plan before any score was computed"
    if what == "reader":
        return "the reader when runs were finished, and nothing shows that no score had been seen by then"
    return "a rule over the names of arms, probes and label budgets, which looks at no score"


def data_name(name: str, *folders: str | None) -> str:
    """What a data set is called: the user's own folder by the folder's name, every other by its own."""
    folder = next((folder for folder in folders if folder), None) if name in FOLDERS else None
    return PurePath(folder).name or name if folder else name


def percent(part: float, whole: float) -> str:
    """`part` of `whole` in percent, on two digits, and on three where two would be no number of percent."""
    value = 100 * part / whole
    return f"{value:.2g}%" if value < 99.5 else f"{value:.3g}%"


def count(n: int, noun: str) -> str:
    """ "3 seeds", "1 seed"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def tested(n: int | None, grouped: bool = False) -> str:
    """ "1,000 test images", "4 groups of test images", "test images" for None: what an interval is over."""
    if n is None:
        return f"{'groups of ' * grouped}test images"
    return f"{count(n, 'group')} of test images" if grouped else count(n, "test image")


def word(n: int) -> str:
    return WORDS[n] if n < len(WORDS) else str(n)


def points(fraction: float, sign: bool = False) -> str:
    """A fraction as percentage points with one decimal and a real minus."""
    text = f"{100 * fraction:+.1f}" if sign else f"{100 * fraction:.1f}"
    if text.lstrip("+-") == "0.0":
        text = "0.0"
    return text.replace("-", "−")


def p_text(p: float) -> str:
    """.03125 → "= .031", .25 → "= .25", tiny → "< .001"."""
    if p < 0.001:
        return "< .001"
    return "= " + (f"{p:.3f}".rstrip("0").rstrip(".").lstrip("0") or "0")


def between(low: float, high: float) -> str:
    """ "81.0 to 84.2"."""
    return f"{points(low)} to {points(high)}"


def span(interval: Ends | None) -> str:
    return between(interval.low, interval.high) if interval else "no interval"


def listed(items: Sequence[str], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return f" {last} ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def upper(text: str) -> str:
    """The first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def either_way(i: Ends) -> str:
    """ "3.3 lower to 0.9 higher", "0.1 to 2.0 higher"."""
    low, high = points(abs(i.low)), points(abs(i.high))
    if i.low < 0 < i.high:
        return f"{low} lower to {high} higher"
    return f"{low} to {high} higher" if i.low >= 0 else f"{high} to {low} lower"

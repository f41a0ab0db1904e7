"""Keys of `conf/data/`: where images come from, how views of them are made, and images that a GAN made."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from gssl.schemas.section import Fraction, Interval, Positive, Section, Text

Side = Annotated[int, Field(ge=8)]


def _apart(values: list[float]) -> list[float]:
    if not values[0] < values[1]:
        raise PydanticCustomError("apart", "the smaller comes first, and they differ")
    return values


Range = Annotated[
    list[float],
    Field(min_length=2, max_length=2, json_schema_extra={"ascending": True}),
    AfterValidator(_apart),
]


def _or_auto(schema: dict[str, Any]) -> None:
    """`auto` may be written; the number that it stands for is there before a configuration is checked."""
    schema["anyOf"].append({"type": "string", "const": "auto"})


class Views(Section):
    """Random views of an image. Probabilities in [0, 1]; strengths as in torchvision's ColorJitter."""

    crop_scale: Interval[Fraction] = Field(description="fraction of the area")
    crop_ratio: Interval[Positive] = Field(description="width / height, [low, high]")
    rotate: float = Field(ge=0, le=180, description="degrees, drawn from [-rotate, rotate]")
    flip: float = Field(ge=0, le=1, description="probability of a horizontal flip")
    jitter: float = Field(ge=0, le=1, description="probability that the colour jitter is applied")
    brightness: float = Field(ge=0)
    contrast: float = Field(ge=0)
    saturation: float = Field(ge=0)
    hue: float = Field(ge=0, le=0.5, description="in fractions of the colour circle")
    grayscale: float = Field(ge=0, le=1, description="probability")
    blur: float = Field(ge=0, le=1, description="probability")
    blur_sigma: Interval[Positive] = Field(description="pixels, [low, high]")
    solarize: float = Field(ge=0, le=1, description="probability; inverts values above one half")
    cutout: float = Field(ge=0, le=1, description="probability")
    cutout_size: float = Field(ge=0, le=1, description="side of the erased square as a fraction of the image's side")
    second_blur: float | None = Field(
        ge=0, le=1, description="blur of every second view (BYOL's asymmetry); null: as blur"
    )
    second_solarize: float | None = Field(ge=0, le=1, description="null: as solarize")


class SoundViews(Section):
    """Random views of a spectrogram (`gssl.data.transforms.spectrogram`)."""

    time: Interval[Positive] = Field(description="fraction of the frames that is stretched to all, [low, high]")
    shift: float = Field(ge=0, le=0.5, description="in time, as a fraction of the frames, either way")
    frequency: Interval[Positive] = Field(description="the same of the bands, from the lowest on")
    mix: float = Field(ge=0, lt=1, description="largest share of the energy that is another sound's")
    gain: float = Field(ge=0, description="decibels, either way")
    noise: float = Field(ge=0, description="deviation of what is added to the logarithm of energies")
    masks: int = Field(ge=0, description="hidden bands, and spans of time, so many of each")
    mask_bands: float = Field(ge=0, le=1, description="the most that one hides, as a fraction of the bands")
    mask_time: float = Field(ge=0, le=1, description="the same of the frames")


class Data(Section):
    """Where images come from and how they are split."""

    name: Text = Field(description="a name of gssl.data.sources.SOURCES")
    root: Text | None = Field(description="folder that holds the files; null: the source's usual place")
    size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] = Field(
        description="side in pixels of the square images that networks read; of masks and boxes: a number is the"
        " shorter side at which images are stored, [h, w] their height and width; auto: chosen from the images and the"
        " device; of texts the tokens that networks read, of sounds the mel bands",
        json_schema_extra=_or_auto,
    )
    crop: int | None = Field(
        ge=8, description="of masks and boxes: side of the square images of pretraining; null: the shorter side"
    )
    pretrain: Text | None = Field(
        description="imagefolder, video: folder for pretraining (labels not needed); webdataset: of archives"
    )
    train: Text | None = Field(
        description="imagefolder: labelled training folder; null: root/train or root; webdataset: of archives, one of"
        " them or a pattern; null: by their names"
    )
    test: Text | None = Field(
        description="imagefolder: labelled test folder; folds: every labelled image is tested on in one of data.folds;"
        " split: a split of train by test_fraction; null: root/test, else folds where labels are few, else split",
        examples=["folds", "split"],
    )
    folds: int | None = Field(ge=2, le=20, description="of the labelled images, where data.test=folds; null: never any")
    fold: int | None = Field(
        ge=0, description="which fold is tested on; null: each, one after another, and training has all images"
    )
    labels: Text | None = Field(
        description="imagefolder: a CSV (path,label[,split][,group]) instead of class folders; folders: class folders,"
        " whatever CSV lies there; hf: the column of labels; webdataset: cls, txt, json.KEY, or folders; video: the"
        " CSV may have start and end, in seconds"
    )
    frames: int | None = Field(ge=2, le=512, description="video: frames of a clip")
    stride: int | None = Field(ge=1, description="video: every so manieth frame of a film is taken; null: each")
    fps: float | None = Field(gt=0, description="video: so many frames per second are taken, whatever the film has")
    clips_per_video: int | None = Field(ge=1, description="video: clips of each film, evenly spread; null: one")
    tokenizer: Text | None = Field(
        description="text: byte, char or bpe, trained on the training texts alone, or a tokenizer.json",
        examples=["byte", "char", "bpe"],
    )
    vocab: int | None = Field(
        ge=2, le=1_000_000, description="text: tokens of the tokenizer; null: byte 256, char at most 256, bpe 2000"
    )
    lowercase: bool | None = Field(description="text: upper and lower case are one")
    long: Literal["split", "truncate", "refuse"] | None = Field(
        description="text: what becomes of texts of more than data.size tokens; null: labelled ones are truncated,"
        " others split"
    )
    encoding: Text | None = Field(description="text: of the files, such as cp1252; null: UTF-8")
    caption_tokens: int | None = Field(
        ge=1, le=4096, description="imagetext: tokens of a caption that are read; longer ones are cut off"
    )
    rate: int | None = Field(
        ge=1000, le=192_000, description="audio: samples per second; null: that of the files, which must be one"
    )
    seconds: float | None = Field(gt=0, le=60, description="audio: of every sound; longer ones are cut, shorter padded")
    hop_ms: float | None = Field(ge=1, le=100, description="audio: from one frame of the spectrogram to the next")
    held_out: list[Text] | None = Field(description="fake: generators that are tested on and not learned from")
    direction: Literal["a_to_b", "b_to_a"] | None = Field(
        description="paired, unpaired: which is made from the other; of one file of a pair A is its left half"
    )
    pairs: Literal["files", "super_resolution", "colour"] | None = Field(
        description="what images are to be made from by gan=pix2pix: files, the other image of a pair, or its mask;"
        " super_resolution, the image made smaller; colour, the image without its colours; null: there are no pairs"
    )
    factor: Literal[2, 4] | None = Field(description="data.pairs=super_resolution: how many times smaller, each way")
    good: Text | None = Field(description="anomaly: folder of good images, of which test_fraction is tested on")
    bad: Text | None = Field(description="anomaly: folder of images with defects, one folder per kind of them")
    masks: Text | None = Field(
        description="segmentation: a template such as '{stem}_mask.png'; null: folders images/ and masks/; anomaly: the"
        " folder of masks; null: root/ground_truth"
    )
    groups: Text | None = Field(
        description="of masks, boxes, films: a pattern such as '{group}_*', or a CSV (path,group); hf: a column"
    )
    val_fraction: float = Field(gt=0, le=0.9, description="of the labelled training images; choices are made on it")
    test_fraction: float = Field(gt=0, le=0.9, description="where the source brings no test split")
    split_seed: int = Field(ge=0, le=2**63 - 1)
    limit: int | None = Field(ge=2, description="at most so many images per split, stratified; null: all")
    range: Literal["auto", "full"] | Range = Field(
        description="of images with more than 8 bits a value, which values become black and white: auto, 0.1% and 99.9%"
        " of the training images' values; full, all that the files' type can hold; [low, high]"
    )
    store: Literal["auto", "pixels", "jpeg"] = Field(
        description="imagefolder, hf, webdataset: what the cache keeps, pixels or JPEG files that are decoded at every"
        " step; auto: JPEG files where pixels would take more than 20 GB or a tenth of the free disk"
    )
    on_error: Literal["stop", "skip"] = Field(description="broken files")
    workers: int = Field(ge=0, description="decoding threads; 0: one per core")
    views: Views
    sound_views: SoundViews | None = Field(description="audio: random views of spectrograms")

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of what a network reads at once: of texts one row of tokens, of sounds bands and frames."""
        if self.seconds is not None and self.hop_ms is not None:
            return self.side, 1 + int(1000 * self.seconds / self.hop_ms)
        return (1, self.side) if self.name == "text" else (self.side, self.side)

    @property
    def side(self) -> int:
        """Side in pixels of the square images that are made for pretraining, GANs and image features."""
        if self.crop is not None:
            return self.crop
        return min(self.size) if isinstance(self.size, list) else self.size


class Synthetic(Section):
    """Images that a GAN made, to learn from instead of real ones."""

    run: Text | None = Field(description="directory of a finished train-gan run; null: real images")
    images: int | None = Field(ge=2, description="how many; null: as many as there are real ones")
    truncation: float | None = Field(gt=0, description="largest |z|; null: the run's own")


class Generated(Section):
    """Images of a class-conditional generator, mixed into the labelled ones."""

    run: Text | None = Field(
        description="directory of a finished train-gan run, e.g. with gan=acgan; null: real images only"
    )
    per_real: float = Field(gt=0, description="generated images per real labelled one, class by class; at least one")
    truncation: float | None = Field(gt=0, description="largest |z|; null: the run's own")

"""Keys of `conf/ssl/`: one class per method."""

from typing import Literal

from pydantic import Field

from gssl.schemas.section import Count, Fraction, Interval, Positive, Section, Text, UnitInterval
from gssl.schemas.training import Optim


class Method(Section):
    """What every method has."""

    name: Text
    batch_size: int = Field(ge=2)
    optim: Optim


class SimCLR(Method):
    """See conf/ssl/simclr.yaml."""

    temperature: float = Field(gt=0)
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")


class Supervised(Method):
    """See conf/ssl/supervised.yaml."""

    label_smoothing: float = Field(ge=0, le=1)


class BarlowTwins(Method):
    """See conf/ssl/barlow_twins.yaml."""

    redundancy: float = Field(ge=0, description="λ, weight of the correlations between different dimensions")
    scale: float = Field(
        gt=0, description="of the loss: with SGD it acts as a learning rate, LARS only in biases and norms"
    )
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")


class VICReg(Method):
    """See conf/ssl/vicreg.yaml."""

    invariance: float = Field(ge=0, description="weight of the distance between two views of an image")
    variance: float = Field(ge=0, description="weight of the hinge on each dimension's standard deviation; 0: collapse")
    covariance: float = Field(ge=0, description="weight of the squared covariances between different dimensions")
    head: list[Count] = Field(min_length=1, description="the expander's sizes after the backbone's dimension")


class LeJEPA(Method):
    """See conf/ssl/lejepa.yaml."""

    weight: float = Field(ge=0, le=1, description="λ of SIGReg; the invariance has 1 − λ")
    directions: int = Field(ge=1, description="random lines per step")
    limit: float = Field(gt=0, description="largest frequency of the normality test")
    knots: int = Field(ge=2, description="points of its integral from 0 to `limit`")
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")


class BYOL(Method):
    """See conf/ssl/byol.yaml."""

    momentum: float = Field(ge=0, le=1, description="the target's decay at the start; rises to 1 along a cosine")
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")
    last_norm: bool = Field(
        description="a norm after the head's last layer, which spreads the images out from the start"
    )
    predictor: int = Field(ge=1, description="the predictor's hidden size")


class SimSiam(Method):
    """See conf/ssl/simsiam.yaml."""

    stop_gradient: bool = Field(description="false: projections are moved too; there to demonstrate the collapse")
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")
    predictor: int = Field(ge=1, description="the predictor's hidden size")


class DINO(Method):
    """See conf/ssl/dino.yaml."""

    momentum: float = Field(ge=0, le=1, description="the teacher's decay at the start; rises to 1 along a cosine")
    head: list[Count] = Field(min_length=1, description="the head's sizes after the backbone's dimension")
    last_norm: bool = Field(
        description="a norm after the head's last layer, which spreads the images out from the start"
    )
    prototypes: int = Field(ge=2, description="directions that the head's output is compared with")
    temperature: float = Field(gt=0, description="of the student's softmax")
    teacher_start: float = Field(gt=0, description="temperature of the teacher's softmax at first")
    teacher_temperature: float = Field(gt=0, description="and after its warm-up")
    teacher_warmup: float = Field(ge=0, le=1, description="fraction of the budget")
    center_momentum: float = Field(ge=0, le=1, description="of the running mean that is taken off the teacher's logits")
    freeze: float = Field(ge=0, le=1, description="fraction of the budget before the prototypes learn")


class Tiles(Section):
    """How tiles are cut out of an image: one in each cell of a grid."""

    gap: float = Field(
        ge=0, le=0.9, description="fraction of a cell's side that its tile leaves free and moves in at random"
    )
    zoom: float = Field(
        ge=1, description="tiles are enlarged by this before the backbone (ViT: and up to whole patches)"
    )
    grey: float = Field(ge=0, le=1, description="probability that a tile loses its colours")
    normalise: bool = Field(description="each tile to one brightness and contrast")


class Rotation(Method):
    """See conf/ssl/rotation.yaml."""

    copies: int = Field(ge=1, le=4, description="different rotations of each image in a step; 4: all")


class Jigsaw(Method):
    """See conf/ssl/jigsaw.yaml."""

    grid: int = Field(ge=2, le=3, description="tiles along a side")
    permutations: int = Field(ge=2, le=72, description="orders to distinguish; at most 12 where grid is 2")
    tiles: Tiles
    head: list[Count] = Field(description="hidden sizes between the tiles' features and the permutations")


class RelativeLocation(Method):
    """See conf/ssl/relative_location.yaml."""

    pairs: int = Field(ge=1, le=8, description="different neighbours of the central tile in a step; 8: all")
    tiles: Tiles
    head: list[Count] = Field(description="hidden sizes between the two tiles' features and the eight sides")


class MAE(Method):
    """See conf/ssl/mae.yaml."""

    mask: float = Field(gt=0, le=0.99, description="fraction of the patches that are hidden")
    normalise: bool = Field(description="predict patches that are standardised each by itself")
    width: int = Field(ge=1, description="of the decoder, a multiple of 12")
    depth: int = Field(ge=1, description="of the decoder, in blocks")


class SimMIM(Method):
    """See conf/ssl/simmim.yaml."""

    mask: float = Field(gt=0, le=0.99, description="fraction of the image that is hidden")
    unit: int = Field(
        ge=1, description="side in pixels of the squares that are hidden or not; a multiple of a ViT's patch"
    )
    window: int | None = Field(
        ge=3, description="predict pixels that are standardised over so many around; null: the pixels themselves"
    )


class IJEPA(Method):
    """See conf/ssl/ijepa.yaml."""

    blocks: int = Field(ge=1, description="target blocks per image")
    scale: Interval[Fraction] = Field(description="fraction of the image that a target has")
    aspect: Interval[Positive] = Field(description="height / width of a target")
    context: Interval[Fraction] = Field(description="the same fraction of the context block")
    width: int = Field(ge=1, description="of the predictor, a multiple of 12")
    depth: int = Field(ge=1, description="of the predictor, in blocks")
    momentum: float = Field(ge=0, le=1, description="of the target encoder at the start; rises to 1")
    loss: Literal["smooth_l1", "l2"]
    export: Literal["target", "context"] = Field(description="the encoder that is evaluated and exported")


class MoCo(Method):
    """See conf/ssl/moco.yaml."""

    version: Literal["v2", "v3"] = Field(description="negatives: v2 a queue of past keys, v3 the keys of the batch")
    temperature: float = Field(gt=0)
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")
    predictor: list[Count] = Field(description="v3: hidden sizes of the head that only queries pass; v2 has none")
    queue: int = Field(ge=1, description="v2: number of keys in it; v3 has none")
    momentum: Interval[UnitInterval] = Field(description="of the key encoder: first and last value")
    symmetric: bool = Field(description="each view is the query once and the key once: twice the work of a step")


class NNCLR(Method):
    """See conf/ssl/nnclr.yaml."""

    temperature: float = Field(gt=0)
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")
    predictor: list[Count] = Field(description="hidden sizes of the prediction head")
    queue: int = Field(ge=1, description="past projections among which neighbours are looked for")


class SupCon(Method):
    """See conf/ssl/supcon.yaml."""

    temperature: float = Field(gt=0)
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")


class SwAV(Method):
    """See conf/ssl/swav.yaml."""

    temperature: float = Field(gt=0, description="of the predictions")
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")
    prototypes: int = Field(ge=2)
    epsilon: float = Field(gt=0, description="of Sinkhorn-Knopp: the smaller, the harder the assignments")
    iterations: int = Field(ge=1, description="of Sinkhorn-Knopp")
    queue: int = Field(ge=0, description="past projections of each view that are assigned beside the batch; 0: none")
    queue_from: float = Field(ge=0, le=1, description="fraction of the budget before the queue takes part")
    freeze: float = Field(ge=0, le=1, description="fraction of the budget before the prototypes learn")


class Denoising(Method):
    """See conf/ssl/denoising.yaml."""

    sigma: float = Field(ge=0, description="standard deviation of the Gaussian noise; pixels are in [0, 1]")
    mask: float = Field(ge=0, le=1, description="fraction of the positions that are lost")
    cell: int = Field(ge=1, description="pixels per side of a position")
    decoder: int = Field(ge=1, description="channels of the decoder's last block")


class VAE(Method):
    """See conf/ssl/vae.yaml."""

    latent: int = Field(ge=1, description="numbers per position of the last map")
    beta: float = Field(ge=0, description="weight of KL beside half the squared error: the variance of a pixel")
    decoder: int = Field(ge=1, description="channels of the decoder's last block")


class Inpainting(Method):
    """See conf/ssl/inpainting.yaml."""

    block: float = Field(gt=0, le=1, description="side of the missing square as a fraction of the image's side")
    place: Literal["centre", "random"] = Field(description="of the square")
    decoder: int = Field(ge=1, description="channels of the decoder's last block")
    adversarial: float = Field(ge=0, le=1, description="fraction of the adversarial loss; 0: no discriminator")
    width_d: int = Field(ge=1, description="channels of the discriminator's first block")
    optim_d: Optim


class Colorization(Method):
    """See conf/ssl/colorization.yaml."""

    grid: float = Field(ge=5, le=60, description="distance of neighbouring colours in the plane of a and b")
    cell: int = Field(ge=1, description="pixels per side of a position that gets one colour")
    smooth: float = Field(gt=0, description="sigma of the blur of the colours' frequencies, in units of a and b")
    mix: float = Field(
        ge=0, le=1, description="fraction of a uniform distribution in the frequencies: 1 is no rebalancing"
    )
    temperature: float = Field(gt=0, description="of the annealed mean, for pictures only")
    decoder: int = Field(ge=1, description="channels of the decoder's last block")


class Distill(Method):
    """See conf/ssl/distill.yaml."""

    teacher: Text = Field(
        description="the network whose features are learned: a ready-made one by name, torchvision:NAME, timm:NAME,"
        " timm:NAME@FILE, a run, a checkpoint or a file",
        examples=["efficientnet_lite0", "torchvision:", "timm:"],
    )
    teacher_size: int | None = Field(
        ge=8, description="side in pixels of the images that the teacher gets; null: its own, which it learned from"
    )
    loss: Literal["kl", "cosine"] = Field(
        description="kl: similarities to features of earlier images; cosine: the features themselves"
    )
    temperature: float = Field(gt=0, description="kl: of the backbone's similarities")
    teacher_temperature: float = Field(gt=0, description="kl: of the teacher's")
    queue: int = Field(ge=2, description="kl: features of earlier images that serve as classes")
    head: list[Count] = Field(
        description="hidden sizes between the backbone's features and the teacher's; []: one linear layer"
    )
    colours: bool = Field(description="views with changed colours, as contrastive methods have them; false: crops only")


class NextFrame(Method):
    """See conf/ssl/next_frame.yaml."""

    decoder: int = Field(ge=1, description="channels of the decoder's last block")


class CLM(Method):
    """See conf/ssl/clm.yaml."""


class Chat(Method):
    """See conf/ssl/chat.yaml."""


class Seq2Seq(Method):
    """See conf/ssl/seq2seq.yaml."""


class MLM(Method):
    """See conf/ssl/mlm.yaml."""

    mask: Fraction = Field(description="of the tokens, which are predicted")
    random: UnitInterval = Field(description="of these, replaced by tokens drawn evenly and not by a mask")
    kept: UnitInterval = Field(description="of these, left as they are")


class SimCSE(Method):
    """See conf/ssl/simcse.yaml."""

    temperature: float = Field(gt=0)
    dropout: float = Field(gt=0, lt=1, description="of the features, in each of the two readings")
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")


class ImagesAlone(Section):
    """SLIP: SimCLR of the images in the same run."""

    weight: float = Field(ge=0, description="beside the loss of pairs, which has 1; 0: none of it")
    temperature: float = Field(gt=0)
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")


class Captioned(Method):
    """Images with captions; see conf/ssl/clip.yaml."""

    text: Literal["bow", "transformer"] = Field(
        description="the tower of texts: bow, the mean of the tokens' embeddings; transformer, two small blocks"
    )
    text_width: int = Field(ge=4, description="of that tower; of the transformer a multiple of 4")
    dim: int = Field(ge=2, description="of the space that images and captions are brought to")
    scale: float = Field(ge=1, le=100, description="of similarities, at the start; it is learned, up to 100")
    drop: float = Field(ge=0, lt=1, description="fraction of a caption's tokens that a step leaves out, drawn anew")
    positives: Literal["captions", "groups"] = Field(
        description="captions that are true of an image beside the drawn one: its others, or those of its whole group"
    )
    prompts: list[Text] = Field(
        min_length=1, description="zero-shot classification: texts with {} in the place of a class's name; their mean"
    )
    simclr: ImagesAlone


class SigLIP(Captioned):
    """See conf/ssl/siglip.yaml."""

    bias: float = Field(description="of similarities, at the start; it is learned")


class Caption(Method):
    """See conf/ssl/caption.yaml."""

    prefix: int = Field(ge=1, le=64, description="vectors that an image is to the decoder, before the caption")
    decoder: Literal["text_small", "text_base"] = Field(description="the causal language model that writes captions")
    width: int = Field(ge=4, description="of the decoder, a multiple of 4 (text_base: of 8)")
    alone: float = Field(
        ge=0, lt=1, description="fraction of the captions of a step that are read without their image, drawn anew"
    )


class FrameOrder(Method):
    """See conf/ssl/frame_order.yaml."""

    head: list[Count] = Field(description="hidden sizes between the three frames' features and the two answers")


class Neighbours(Method):
    """See conf/ssl/neighbours.yaml."""

    temperature: float = Field(gt=0)
    head: list[Count] = Field(min_length=1, description="the projection head's sizes after the backbone's dimension")


class TubeMAE(Method):
    """See conf/ssl/tube_mae.yaml."""

    mask: float = Field(gt=0, le=0.99, description="fraction of the patches that are hidden, the same in all frames")
    normalise: bool = Field(description="predict patches that are standardised each by itself")
    width: int = Field(ge=1, description="of the decoder, a multiple of 12")
    depth: int = Field(ge=1, description="of the decoder, in blocks")

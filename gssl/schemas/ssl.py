"""Types and meanings of the keys in `conf/ssl/`: one class per method, every field MISSING as in `schema`."""

from dataclasses import dataclass

from omegaconf import MISSING

from gssl.schemas import Optim
from gssl.schemas.fields import choice, number, numbers


@dataclass
class Method:
    """What every method has."""

    name: str = MISSING
    batch_size: int = number(min=2)
    optim: Optim = MISSING


@dataclass
class SimCLR(Method):
    """See conf/ssl/simclr.yaml."""

    temperature: float = number(above=0)
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension


@dataclass
class Supervised(Method):
    """See conf/ssl/supervised.yaml."""

    label_smoothing: float = number(min=0, max=1)


@dataclass
class BarlowTwins(Method):
    """See conf/ssl/barlow_twins.yaml."""

    redundancy: float = number(min=0)  # λ, weight of the correlations between different dimensions
    scale: float = number(above=0)  # of the loss: SGD sees it as a learning rate, LARS only in biases and norms
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension


@dataclass
class VICReg(Method):
    """See conf/ssl/vicreg.yaml."""

    invariance: float = number(min=0)  # weight of the distance between two views of an image
    variance: float = number(min=0)  # weight of the hinge on each dimension's standard deviation; 0: collapse
    covariance: float = number(min=0)  # weight of the squared covariances between different dimensions
    head: list[int] = numbers(min=1, least=1)  # the expander's sizes after the backbone's dimension


@dataclass
class LeJEPA(Method):
    """See conf/ssl/lejepa.yaml."""

    weight: float = number(min=0, max=1)  # λ of SIGReg; the invariance has 1 − λ
    directions: int = number(min=1)  # random lines per step
    limit: float = number(above=0)  # largest frequency of the normality test
    knots: int = number(min=2)  # places of its integral from 0 to `limit`
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension


@dataclass
class BYOL(Method):
    """See conf/ssl/byol.yaml."""

    momentum: float = number(min=0, max=1)  # the target's decay at the start; rises to 1 along a cosine
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension
    last_norm: bool = MISSING  # a norm after the head's last layer, which spreads the images out from the start
    predictor: int = number(min=1)  # the predictor's hidden size


@dataclass
class SimSiam(Method):
    """See conf/ssl/simsiam.yaml."""

    stop_gradient: bool = MISSING  # false: projections are moved too; there to demonstrate the collapse
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension
    predictor: int = number(min=1)  # the predictor's hidden size


@dataclass
class DINO(Method):
    """See conf/ssl/dino.yaml."""

    momentum: float = number(min=0, max=1)  # the teacher's decay at the start; rises to 1 along a cosine
    head: list[int] = numbers(min=1, least=1)  # the head's sizes after the backbone's dimension
    last_norm: bool = MISSING  # a norm after the head's last layer, which spreads the images out from the start
    prototypes: int = number(min=2)  # directions that the head's output is compared with
    temperature: float = number(above=0)  # of the student's softmax
    teacher_start: float = number(above=0)  # temperature of the teacher's softmax at first
    teacher_temperature: float = number(above=0)  # and after its warm-up
    teacher_warmup: float = number(min=0, max=1)  # share of the budget
    center_momentum: float = number(min=0, max=1)  # of the running mean that is taken off the teacher's logits
    freeze: float = number(min=0, max=1)  # share of the budget before the prototypes learn


@dataclass
class Tiles:
    """How tiles are cut out of an image: one in each cell of a grid."""

    gap: float = number(min=0, max=0.9)  # share of a cell's side that its tile leaves free and moves in at random
    zoom: float = number(min=1)  # tiles are enlarged by this before the backbone (ViT: and up to whole patches)
    grey: float = number(min=0, max=1)  # probability that a tile loses its colours
    normalise: bool = MISSING  # each tile to one brightness and contrast


@dataclass
class Rotation(Method):
    """See conf/ssl/rotation.yaml."""

    copies: int = number(min=1, max=4)  # different turns of each image in a step; 4: all


@dataclass
class Jigsaw(Method):
    """See conf/ssl/jigsaw.yaml."""

    grid: int = number(min=2, max=3)  # tiles along a side
    permutations: int = number(min=2, max=72)  # orders to tell apart; at most 12 where grid is 2
    tiles: Tiles = MISSING
    head: list[int] = numbers(min=1)  # hidden sizes between the tiles' features and the permutations


@dataclass
class RelativeLocation(Method):
    """See conf/ssl/relative_location.yaml."""

    pairs: int = number(min=1, max=8)  # different neighbours of the central tile in a step; 8: all
    tiles: Tiles = MISSING
    head: list[int] = numbers(min=1)  # hidden sizes between the two tiles' features and the eight sides


@dataclass
class MAE(Method):
    """See conf/ssl/mae.yaml."""

    mask: float = number(above=0, max=0.99)  # share of the patches that are hidden
    normalise: bool = MISSING  # predict patches that are standardised each by itself
    width: int = number(min=1)  # of the decoder, a multiple of 12
    depth: int = number(min=1)  # of the decoder, in blocks


@dataclass
class SimMIM(Method):
    """See conf/ssl/simmim.yaml."""

    mask: float = number(above=0, max=0.99)  # share of the image that is hidden
    unit: int = number(min=1)  # side in pixels of the squares that are hidden or not; a multiple of a ViT's patch
    window: int | None = number(min=3)  # predict pixels that are standardised over so many around; null: plain pixels


@dataclass
class IJEPA(Method):
    """See conf/ssl/ijepa.yaml."""

    blocks: int = number(min=1)  # target blocks per image
    scale: list[float] = numbers(above=0, max=1, length=2, ascending=True)  # share of the image that a target has
    aspect: list[float] = numbers(above=0, length=2, ascending=True)  # height / width of a target
    context: list[float] = numbers(above=0, max=1, length=2, ascending=True)  # the same share of the context block
    width: int = number(min=1)  # of the predictor, a multiple of 12
    depth: int = number(min=1)  # of the predictor, in blocks
    momentum: float = number(min=0, max=1)  # of the target encoder at the start; rises to 1
    loss: str = choice("smooth_l1", "l2")
    export: str = choice("target", "context")  # the encoder that is judged and handed on


@dataclass
class MoCo(Method):
    """See conf/ssl/moco.yaml."""

    version: str = choice("v2", "v3")  # negatives: v2 a queue of past keys, v3 the keys of the batch
    temperature: float = number(above=0)
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension
    predictor: list[int] = numbers(min=1)  # v3: hidden sizes of the head that only queries pass; v2 has none
    queue: int = number(min=1)  # v2: number of keys in it; v3 has none
    momentum: list[float] = numbers(min=0, max=1, length=2, ascending=True)  # of the key encoder: at first, at last
    symmetric: bool = MISSING  # each view is query and key in turn: twice the work of a step


@dataclass
class NNCLR(Method):
    """See conf/ssl/nnclr.yaml."""

    temperature: float = number(above=0)
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension
    predictor: list[int] = numbers(min=1)  # hidden sizes of the prediction head
    queue: int = number(min=1)  # past projections among which neighbours are looked for


@dataclass
class SupCon(Method):
    """See conf/ssl/supcon.yaml."""

    temperature: float = number(above=0)
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension


@dataclass
class SwAV(Method):
    """See conf/ssl/swav.yaml."""

    temperature: float = number(above=0)  # of the predictions
    head: list[int] = numbers(min=1, least=1)  # the projection head's sizes after the backbone's dimension
    prototypes: int = number(min=2)
    epsilon: float = number(above=0)  # of Sinkhorn-Knopp: the smaller, the harder the assignments
    iterations: int = number(min=1)  # of Sinkhorn-Knopp
    queue: int = number(min=0)  # past projections of each view that are assigned beside the batch; 0: none
    queue_from: float = number(min=0, max=1)  # share of the budget before the queue takes part
    freeze: float = number(min=0, max=1)  # share of the budget before the prototypes learn


@dataclass
class Denoising(Method):
    """See conf/ssl/denoising.yaml."""

    sigma: float = number(min=0)  # standard deviation of the Gaussian noise; pixels are in [0, 1]
    mask: float = number(min=0, max=1)  # share of the places that are lost
    cell: int = number(min=1)  # pixels per side of a place
    decoder: int = number(min=1)  # channels of the decoder's last block


@dataclass
class VAE(Method):
    """See conf/ssl/vae.yaml."""

    latent: int = number(min=1)  # numbers per place of the last map
    beta: float = number(min=0)  # weight of KL beside half the squared error: the variance of a pixel
    decoder: int = number(min=1)  # channels of the decoder's last block


@dataclass
class Inpainting(Method):
    """See conf/ssl/inpainting.yaml."""

    block: float = number(above=0, max=1)  # side of the missing square as a share of the image's side
    place: str = choice("centre", "random")  # of the square
    decoder: int = number(min=1)  # channels of the decoder's last block
    adversarial: float = number(min=0, max=1)  # share of the adversarial loss; 0: no discriminator
    width_d: int = number(min=1)  # channels of the discriminator's first block
    optim_d: Optim = MISSING


@dataclass
class Colorization(Method):
    """See conf/ssl/colorization.yaml."""

    grid: float = number(min=5, max=60)  # distance of neighbouring colours in the plane of a and b
    cell: int = number(min=1)  # pixels per side of a place that gets one colour
    smooth: float = number(above=0)  # sigma of the blur of the colours' frequencies, in units of a and b
    mix: float = number(min=0, max=1)  # share of a uniform distribution in the frequencies: 1 is no rebalancing
    temperature: float = number(above=0)  # of the annealed mean, for pictures only
    decoder: int = number(min=1)  # channels of the decoder's last block

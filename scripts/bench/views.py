"""Two SimCLR colour views of one batch: gssl against peers, alternating, in milliseconds.

    python scripts/bench/views.py [--images 256] [--size 32] [--stored 32] [--threads 2] [--rounds 15]
    python scripts/bench/views.py --images 64 --size 224 --stored 500

Peers: gssl without antialiasing where a box is shrunk by more than 2:1 (`--stored` above twice `--size`), the same
pipeline on affine_grid + grid_sample with the colours one after the other (torch only),
kornia's batch augmentations where installed, torchvision v2 one image after another (as a DataLoader's worker
does it). Rounds alternate between all of them, so that a busy machine is equally busy for each.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from gssl.data import views as large_crops
from gssl.data.colour import apply_colour, colour_matrix
from gssl.data.draws import Draws
from gssl.data.views import RandomViews

CROP, RATIO, STRENGTH, HUE = (0.2, 1.0), (3 / 4, 4 / 3), 0.4, 0.1
View = Callable[[int], torch.Tensor]


def ours(image: torch.Tensor, size: int) -> View:
    cfg = SimpleNamespace(
        crop_scale=CROP, crop_ratio=RATIO, rotate=0.0, flip=0.5, jitter=0.8, brightness=STRENGTH,
        contrast=STRENGTH, saturation=STRENGTH, hue=HUE, grayscale=0.2, blur=0.0, blur_sigma=(0.1, 2.0),
        solarize=0.0, cutout=0.0, cutout_size=0.5,
    )  # fmt: skip
    make = RandomViews(cfg, size, Draws(0))  # type: ignore[arg-type]
    return lambda step: make(image, step // 2, step % 2)


def aliased(image: torch.Tensor, size: int) -> View:
    """`ours`, each pixel from its neighbours alone."""
    view = ours(image, size)

    def made(step: int) -> torch.Tensor:
        kept, large_crops.SHARP = large_crops.SHARP, 1 << 30
        try:
            return view(step)
        finally:
            large_crops.SHARP = kept

    return made


def affine(image: torch.Tensor, size: int) -> View:
    """What one writes first: affine_grid, torch's own random numbers, one pass per colour operation."""

    def view(step: int) -> torch.Tensor:
        n = len(image)
        area, u = torch.empty(n).uniform_(*CROP), torch.rand(n, 2)
        ratio = torch.exp(torch.empty(n).uniform_(float(np.log(RATIO[0])), float(np.log(RATIO[1]))))
        w, h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = w * torch.where(torch.rand(n) < 0.5, -1.0, 1.0), h
        theta[:, 0, 2], theta[:, 1, 2] = (1 - w) * (2 * u[:, 0] - 1), (1 - h) * (2 * u[:, 1] - 1)
        grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
        x = F.grid_sample(image.float() / 255, grid, padding_mode="border", align_corners=False)
        jitter = (torch.rand(n) < 0.8).float()
        b, c, s = (1 + jitter * torch.empty(n).uniform_(-STRENGTH, STRENGTH) for _ in range(3))
        one, zero = torch.ones(n), torch.zeros(n)
        x = (x * b.view(-1, 1, 1, 1)).clamp(0, 1)
        x = apply_colour(x, *colour_matrix(one, c, one, zero, zero)).clamp(0, 1)
        x = apply_colour(x, *colour_matrix(one, one, s, zero, zero)).clamp(0, 1)
        hue, gray = jitter * torch.empty(n).uniform_(-HUE, HUE), torch.rand(n) < 0.2
        x = apply_colour(x, *colour_matrix(one, one, one, hue, gray)).clamp(0, 1)
        return x.contiguous(memory_format=torch.channels_last)

    return view


def torchvision(image: torch.Tensor, size: int) -> View:
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, CROP, RATIO, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(STRENGTH, STRENGTH, STRENGTH, HUE)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return lambda step: torch.stack([transform(one) for one in image])


def kornia(image: torch.Tensor, size: int) -> View:
    import kornia.augmentation as K

    transform = K.AugmentationSequential(
        K.RandomResizedCrop((size, size), CROP, RATIO),
        K.RandomHorizontalFlip(),
        K.ColorJitter(STRENGTH, STRENGTH, STRENGTH, HUE, p=0.8),
        K.RandomGrayscale(p=0.2),
    )
    return lambda step: transform(image.float() / 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="batch size")
    parser.add_argument("--size", type=int, default=32, help="side of the views in pixels, and of the images")
    parser.add_argument("--stored", type=int, help="side of the images, where it is another")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each, after 3 to warm up")
    parser.add_argument("--file", help=".npy of uint8 images (N, H, W, 3); otherwise noise, which costs the same")
    parser.add_argument("--skip", nargs="*", default=[], help="peers to leave out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    side = args.stored or args.size
    if args.file:
        pixels = torch.from_numpy(np.load(args.file)[: args.images])
    else:
        pixels = torch.randint(0, 256, (args.images, side, side, 3), dtype=torch.uint8)
    image = pixels.permute(0, 3, 1, 2).contiguous()

    views: dict[str, View] = {}
    for name, build in {
        "gssl": ours,
        **({"aliased": aliased} if side > large_crops.SHARP * args.size else {}),
        "affine_grid": affine,
        "kornia": kornia,
        "torchvision": torchvision,
    }.items():
        if name in args.skip:
            continue
        try:
            views[name] = build(image, args.size)
        except ImportError:
            print(f"{name}: not installed")
    spent: dict[str, list[float]] = {name: [] for name in views}
    for step in range(args.rounds + 3):
        for name, view in views.items():
            start = time.perf_counter()
            view(2 * step), view(2 * step + 1)
            if step >= 3:
                spent[name].append(1e3 * (time.perf_counter() - start))

    what = f"{len(image)} images of {side} px, {args.threads} threads, torch {torch.__version__}"
    print(f"two views of {args.size} px of {what}")
    print(f"{'':<12} {'median ms':>10} {'lowest ms':>10} {'÷ gssl':>8}")
    own = statistics.median(spent[next(iter(views))])
    for name, times in spent.items():
        middle = statistics.median(times)
        print(f"{name:<12} {middle:>10.1f} {min(times):>10.1f} {middle / own:>8.1f}")


if __name__ == "__main__":
    main()

"""sRGB to CIE L*a*b* (1976, D65 white) and back, for batches of images: pure functions.

sRGB as in IEC 61966-2-1; the matrix is that of its primaries and white, so grey has a = b = 0.
"""

import torch
from torch import Tensor

TO_XYZ = torch.tensor(
    [(0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)],
    dtype=torch.float64,
)
TO_XYZ = TO_XYZ / TO_XYZ.sum(1, keepdim=True)  # white is (1, 1, 1): X, Y, Z are fractions of it
FROM_XYZ = torch.linalg.inv(TO_XYZ)
EDGE = 6 / 29  # below it, the cube root goes on as its tangent


def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    """`matrix` (3, 3) on the channels of `x` (B, 3, H, W): by sums, for autocast would halve a product's precision."""
    first, second, third = x.unbind(1)
    return torch.stack([a * first + b * second + c * third for a, b, c in matrix.tolist()], dim=1)


def rgb_to_lab(image: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] → L in [0, 100], a in about [−86, 98], b in [−108, 94], as channels."""
    x = image.float()
    linear = torch.where(x > 0.04045, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, x / 12.92)
    xyz = _mix(linear, TO_XYZ)
    f = torch.where(xyz > EDGE**3, xyz.clamp(min=EDGE**3) ** (1 / 3), xyz / (3 * EDGE**2) + 4 / 29)
    fx, fy, fz = f.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse of `rgb_to_lab`; colours that sRGB does not have are clamped, channel by channel, to [0, 1]."""
    lightness, a, b = lab.float().unbind(1)
    fy = (lightness + 16) / 116
    f = torch.stack([fy + a / 500, fy, fy - b / 200], dim=1)
    xyz = torch.where(f > EDGE, f**3, 3 * EDGE**2 * (f - 4 / 29))
    x = _mix(xyz, FROM_XYZ)
    return torch.where(x > 0.0031308, 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * x).clamp(0, 1)

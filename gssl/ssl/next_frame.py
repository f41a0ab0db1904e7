"""Next frame: from two frames of a clip the third is predicted, as a change of the second.

Mathieu, Couprie, LeCun: Deep multi-scale video prediction beyond mean square error, ICLR 2016, arXiv:1511.05440, has
the task; the change instead of the frame, and a last layer that starts at zero, make persistence (nothing moves) where
training begins. Each frame passes through the backbone by itself, so that it stays a network of images. Values and the
measured result: conf/ssl/next_frame.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.decoder import Decoder, last_side
from gssl.schemas import ssl as schema


def change_error(change: Tensor, last: Tensor, following: Tensor) -> dict[str, Tensor]:
    """Mean squared errors of the frame `last` + `change` and of `last` itself (persistence); (B, 3, S, S) each."""
    true = (following - last).float()
    return {"loss": F.mse_loss(change.float(), true), "persistence": true.square().mean()}


class NextFrame(nn.Module):
    """Backbone on two frames, and a decoder of both last maps without skips; the decoder is dropped on export."""

    needs = ("frame0", "frame1", "frame2")

    def __init__(self, cfg: schema.NextFrame, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.backbone = backbone
        side = last_side(backbone, context.size)
        self.decoder = Decoder(2 * backbone.dim, side, context.size, 3, cfg.decoder)
        nn.init.zeros_(self.decoder.last.weight)
        nn.init.zeros_(self.decoder.last.bias)  # type: ignore[arg-type]
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def change(self, before: Tensor, last: Tensor) -> Tensor:
        """What is added to `last` (B, 3, S, S) in [0, 1], which follows `before`."""
        maps = [self.backbone.dense(frame)[-1] for frame in (before, last)]
        out: Tensor = self.decoder(torch.cat(maps, dim=1))
        return out

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        before, last, following = (batch[name] for name in self.needs)
        return change_error(self.change(before, last), last, following)

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)

    @torch.no_grad()
    def following(self, before: Tensor, last: Tensor) -> Tensor:
        """The frame that is expected after `last`, in [0, 1]."""
        return (last + self.change(before, last).float()).clamp(0, 1)

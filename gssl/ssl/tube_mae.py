"""Tube-masked MAE: the same patches are hidden in all frames of a clip, and a decoder that sees all times paints them.

Tong, Song, Wang, Wang: VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training, NeurIPS 2022, arXiv:2203.12602. A patch that is hidden at one time only could be copied from the next
frame; a tube cannot. Here the encoder is the backbone of images, frame by frame, and time meets in the decoder alone:
what is learnt stays a network of images. Needs a ViT. Values and the measured result: conf/ssl/tube_mae.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.vit import HEADS, Block, initialise, position_embedding
from gssl.schemas import ssl as schema
from gssl.ssl.patches import hidden_count, hidden_mse, need_vit, patchify, split_order, take

FRAMES = 4


class TubeDecoder(nn.Module):
    """A narrow transformer on the visible tokens of all frames, with a learnt token at every hidden place.

    Places in a frame have fixed positions, times learnt ones.
    """

    positions: Tensor

    def __init__(self, dim: int, width: int, depth: int, out: int, side: int) -> None:
        super().__init__()
        if width % (4 * HEADS):
            raise UsageError(f"ssl.width={width}: must be a multiple of {4 * HEADS}, e.g. 48")
        self.enter = nn.Linear(dim, width)
        self.token = nn.Parameter(torch.zeros(width))
        self.times = nn.Parameter(torch.zeros(FRAMES, 1, width))
        self.register_buffer("positions", position_embedding(width, side)[0], persistent=False)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, out)
        nn.init.trunc_normal_(self.token, std=0.02)
        nn.init.trunc_normal_(self.times, std=0.02)
        initialise(self)

    def forward(self, visible: Tensor, at: Tensor, hidden: Tensor) -> Tensor:
        """`visible` (B, T, v, dim), at the places `at` (B, v) of every frame → (B, T, h, out) at `hidden` (B, h)."""
        seen = self.enter(visible) + self.positions[at][:, None]
        gone = (self.token + self.positions[hidden])[:, None].expand(-1, seen.shape[1], -1, -1)
        x = torch.cat([seen, gone], dim=2) + self.times
        tokens = x.flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.leave(self.norm(tokens).unflatten(1, x.shape[1:3])[:, :, at.shape[1] :])
        return out


class TubeMAE(nn.Module):
    """ViT on the visible patches of each frame, decoder on all of a clip; the decoder is dropped on export."""

    needs = tuple(f"frame{i}" for i in range(FRAMES))

    def __init__(self, cfg: schema.TubeMAE, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.draws, self.normalise = context.draws, cfg.normalise
        self.backbone = backbone
        self.patch = need_vit(backbone, "tube_mae", context.size).patch
        side = context.size // self.patch
        self.total = side * side
        self.hidden = hidden_count(self.total, cfg.mask)
        self.decoder = TubeDecoder(self.backbone.dim, cfg.width, cfg.depth, 3 * self.patch**2, side)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """(N, 3, S, S), (N, v) → (N, v, dim): the visible patches' tokens, which know of no other patch or frame."""
        net = need_vit(self.backbone, "tube_mae", images.shape[-1])
        return net.encode(take(net.embed(images) + net.embedding(*net.grid(images)), visible))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        clip = torch.stack([batch[name] for name in self.needs], dim=1)  # (B, T, 3, S, S)
        visible, hidden = batch["visible"], batch["hidden"]
        tubes, gone = (places.repeat_interleave(FRAMES, dim=0) for places in (visible, hidden))
        frames = clip.flatten(0, 1)
        tokens = self.encode(frames, tubes).unflatten(0, (-1, FRAMES))
        painted = self.decoder(tokens, visible, hidden).flatten(0, 1)
        return {"loss": hidden_mse(painted, patchify(frames, self.patch), gone, self.normalise)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        noise = self.draws.uniform("tube_mae/mask", step, (len(batch["frame0"]), self.total))
        visible, hidden = (to_device(x, batch["frame0"].device) for x in split_order(noise, self.hidden))
        return self.optimizer.minimize(self.loss, batch | {"visible": visible, "hidden": hidden})

"""Captions: a causal language model writes what is said about an image, which it reads as a few vectors before it.

As pretraining of the image encoder: Desai, Johnson 2021, arXiv:2006.06666 (VirTex); features as a prefix: Mokady et al.
2021, arXiv:2111.09734 (ClipCap), whose encoder and language model came ready-made. Values and the measured result:
conf/ssl/caption.yaml.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.captioner import Captioner
from gssl.schemas import ssl as schema
from gssl.ssl.clm import next_tokens
from gssl.ssl.token_losses import per_token
from gssl.vocabulary import EOS, PAD


def ended(tokens: Tensor, most: int) -> Tensor:
    """(B, T + 1): `tokens` (B, T) with a mark of the end behind each row of less than `most` of them; one that has so
    many may have been cut off."""
    longer = F.pad(tokens, (0, 1), value=PAD)
    count = (longer != PAD).sum(1, keepdim=True)
    marked = longer.scatter(1, count.clamp(max=tokens.shape[1]), EOS)
    return marked.where(count < most, longer)


class Caption(nn.Module):
    """Backbone, and the captioner, which `gssl.experiment.captioner` writes beside it."""

    needs: tuple[str, ...] = ("crop0", "caption")

    def __init__(self, cfg: schema.Caption, backbone: Backbone, context: Context) -> None:
        super().__init__()
        if not context.vocab:
            raise UsageError(f"ssl={cfg.name}: learns from images with captions; use data=imagetext")
        self.cfg, self.draws, self.mean = cfg, context.draws, context.mean
        self.most = context.caption_tokens
        self.backbone = backbone
        self.captioner = Captioner(backbone.dim, cfg.prefix, cfg.decoder, cfg.width, context.vocab)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        prefix = self.captioner.prefix(self.backbone(batch["crop0"])) * batch["shown"][:, None, None]
        return per_token(next_tokens(self.captioner.decoder, batch["ended"], prefix), batch["per_row"])

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        tokens = ended(batch["caption"], self.most)
        chance = to_device(self.draws.uniform("caption/alone", step, (len(tokens),)), tokens.device)
        per_row = self.mean((tokens != PAD).sum(1).float().mean())
        added = {"ended": tokens, "shown": chance >= self.cfg.alone, "per_row": per_row.expand(len(tokens))}
        return self.optimizer.minimize(self.loss, batch | added)

"""Sounds as the pictures that a GAN of spectrograms makes, so that what measures generated images measures them too."""

import copy
from dataclasses import replace

import numpy as np
import torch

from gssl.data import Images, Splits, sequential
from gssl.data.columns import AudioColumn
from gssl.data.memory import MemoryStore
from gssl.nets.log_mel import BandScale, SoundInputs

BATCH = 256
MOST = 2048  # sounds whose bands' moments are taken


def fitted(images: Images, inputs: SoundInputs) -> BandScale:
    """The scale of training sounds, for spectrograms as a network reads them."""
    sounds = images.column_of(AudioColumn)
    assert sounds is not None and inputs.log_mel is not None
    rows = images.rows[:: -(-len(images) // MOST)]
    return BandScale.fit(torch.from_numpy(sounds.fetch(rows)), inputs.log_mel)


def of(images: Images, scale: BandScale) -> Images:
    """Pictures of sounds, one channel of 256 levels, in memory, with their labels."""
    parts, scale = [], copy.deepcopy(scale).cpu()
    for batch in sequential(images, BATCH, torch.device("cpu")):
        levels = (scale.picture(batch["audio"])[:, :1] * 255).round().to(torch.uint8)
        parts.append(levels.permute(0, 2, 3, 1).numpy())
    store = MemoryStore(np.concatenate(parts) if parts else np.zeros((0, *scale.shape, 1), dtype=np.uint8))
    return Images(store, np.arange(len(images)), images.labels, images.classes, images.names, images.groups)


def parts(splits: Splits, scale: BandScale) -> Splits:
    """The same with pictures of all sounds but the test part's, which nobody has opened."""
    train = of(splits.train, scale)
    pretrain = train if splits.pretrain is splits.train else of(splits.pretrain, scale)
    return replace(splits, pretrain=pretrain, train=train, val=of(splits.val, scale))

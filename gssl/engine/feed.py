"""Batches as a method wants them: it names the tensors it needs, and this file makes them.

| name | tensor |
|---|---|
| `view0`, `view1`, … | random views by the data's view policy, (B, 3, S, S) in [0, 1] |
| `crop0`, `crop1`, … | the policy's random crops with rotation and flip, colours untouched |
| `real` | centre crop, flipped where the policy flips, (B, 3, S, S) in [0, 1] |
| `label` | class of each image, (B,) int64; the data must be labelled throughout |
| `frame0`, `frame1`, … | consecutive frames of a clip from a random one on, cropped and flipped alike, no colours |
| `paired` | what `crop0` is to be made from, cropped and flipped as that is, (B, K, S, S): `gssl.data.pairs` |
| `domain0`, `domain1` | of two domains: crops of what is translated, and of what it becomes, each drawn by itself |
| `near0`, `near1` | random views of two neighbouring frames, each by its own draw |
| `tokens` | ids of a text, (B, T) int64, 0 behind the shorter ones; of a long one from a random place on |
| `dialogue` | the same of a dialogue, always from the beginning of a row, which has whole exchanges |
| `pair` | the same of a pair of texts, with a mark between them and one of the end |
| `caption` | one of an image's captions, drawn evenly, (B, T) int64, 0 behind the shorter ones |
| `captions` | all of them, (B, K, T) int64, 0 where an image has fewer |
| `group` | number of the group that an image belongs to, (B,) int64 |

Of sounds (`data=audio`) `view`, `crop` and `real` are log-mel spectrograms (B, 1, bands, frames): views by
`data.sound_views`, its stretches and shifts alone, and sounds as they are.
`frame` and `near` are of clips (`data=video`): to what reads neither every frame of a clip is an image. `tokens` are of
texts (`data=text`), which have nothing else, `dialogue` of those that are messages, and `pair` of those with text_b.
`caption` and `captions` are of images with captions (`data=imagetext`).
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Batches, Draws, Images, RandomViews, pairs
from gssl.data.clips import column_of
from gssl.data.columns import GIVEN, MADE, AudioColumn, CaptionColumn, DomainColumn, TextColumn
from gssl.data.domains import of_domain
from gssl.data.transforms.spectrogram import SpectrogramViews
from gssl.errors import UsageError
from gssl.method import Batch, to_device
from gssl.vocabulary import PAD

KNOWN = (
    "view0, view1, …, crop0, …, real, label; of pairs of images paired; of two domains domain0, domain1; of clips"
    " frame0, frame1, …, near0, near1; of texts tokens, dialogue, pair; of captions caption, captions, group"
)
DOMAINS = ("domain0", "domain1")
TOKENS, DIALOGUE, PAIR, PAIRED = "tokens", "dialogue", "pair", "paired"
OF_TEXTS = (TOKENS, DIALOGUE, PAIR)
CAPTIONS = ("caption", "captions")
OF_CLIPS = r"frame\d+|near[01]"


def reads_clips(needs: Sequence[str]) -> bool:
    """Whether a method reads frames of clips, and not single images."""
    return any(re.fullmatch(OF_CLIPS, name) for name in needs)


def frames_read(needs: Sequence[str]) -> int:
    """How many consecutive frames of a clip a method reads."""
    return max(
        (2 if name.startswith("near") else int(name[5:]) + 1 for name in needs if reads_clips([name])), default=0
    )


class Feed:
    """`feed(step)` is the batch of a step: a pure function of (seed, step)."""

    def __init__(self, batches: Batches, images: Images, needs: Sequence[str], cfg: schemas.Data, draws: Draws) -> None:
        self.batches, self.needs, self.draws, self.cfg = batches, tuple(needs), draws, cfg
        for name in needs:
            known = rf"(view|crop)\d+|real|label|group|{PAIRED}|domain[01]|{'|'.join(OF_TEXTS)}|captions?|{OF_CLIPS}"
            if not re.fullmatch(known, name):
                raise UsageError(f"this method needs '{name}', which no batch of images carries (known: {KNOWN})")
        if "label" in needs and (not len(images.classes) or bool(np.any(images.labels < 0))):
            raise UsageError(
                f"this method needs a label for every training image; data={cfg.name} has images without one;"
                " label them, or take a method that needs none"
            )
        self.given = pairs.given(images, cfg.pairs, cfg.factor) if PAIRED in needs else None
        if self.given is not None:
            pairs.check(images, self.given, cfg.side, cfg.name)
        elif PAIRED in needs:
            raise UsageError(
                f"this method learns from pairs of images, and data={cfg.name} has none; use data=paired, or another"
                " method"
            )
        self.domains = _domains(batches, images, draws, cfg.name) if set(DOMAINS) & set(needs) else []
        self.random: tuple[RandomViews | SpectrogramViews, ...]
        self.placed: RandomViews | SpectrogramViews
        self.still: RandomViews | SpectrogramViews
        self.texts = _texts(images, needs, cfg.name)
        self.clip = frames_read(needs)
        if self.clip:
            _check_clips(images, self.clip, cfg.name)
        if set(CAPTIONS) & set(needs) and images.column_of(CaptionColumn) is None:
            raise UsageError(f"this method learns from captions, and data={cfg.name} has none; use data=imagetext")
        self.groups: np.ndarray | None = None
        if "group" in needs:
            self.groups = images.group_codes()
            if self.groups is None:
                raise UsageError(
                    f"this method asks which images belong together, and data={cfg.name} does not say; give a column"
                    " group, or ssl.positives=captions"
                )
        if self.texts is not None:
            self.long = bool((self.texts.counts < self.texts.ends - self.texts.offsets[:-1])[images.rows].any())
            return
        self.sounds = images.column_of(AudioColumn)
        if self.sounds is not None:
            made = SpectrogramViews.of(cfg, self.sounds, draws)
            self.random, self.placed, self.still = (made, made), made.placed(), made.still()
            return
        views = cfg.views
        second = schemas.replace(
            views,
            blur=views.blur if views.second_blur is None else views.second_blur,
            solarize=views.solarize if views.second_solarize is None else views.second_solarize,
        )
        self.random = RandomViews(views, cfg.side, draws), RandomViews(second, cfg.side, draws)
        placed = schemas.replace(views, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0, cutout=0.0)
        self.placed = RandomViews(placed, cfg.side, draws)
        still = schemas.replace(placed, crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], rotate=0.0)
        self.still = RandomViews(still, cfg.side, draws)

    @property
    def size(self) -> int:
        """Images per step, of all processes."""
        return self.batches.whole

    def __call__(self, step: int) -> Batch:
        if self.domains:
            both = [(number, batches(step)) for number, batches in enumerate(self.domains)]
            return {DOMAINS[i]: self.placed(raw["image"], step, i, raw.get("extent")) for i, raw in both}
        raw = self.batches(step)
        if self.texts is not None:
            made = {DIALOGUE: raw["text"], PAIR: raw["text"]} | (
                {TOKENS: self._tokens(raw, step)} if TOKENS in self.needs else {}
            )
            return {name: made[name] if name in made else raw[name] for name in self.needs}
        image, extent = raw["image" if self.sounds is None else "audio"], raw.get("extent")
        # once for all views; a CPU reads boxes of it, which are fewer bytes so, and samples are scaled by their type
        if self.sounds is None and image.device.type != "cpu" and len(self.needs) > 1:
            image = image.float()
        batch: Batch = {}
        frames = self._frames(raw["video"], step) if self.clip else []
        for name in self.needs:
            if name == "label":
                batch[name] = raw["label"]
            elif name in CAPTIONS:
                batch[name] = raw["caption"] if name == "captions" else self._caption(raw["caption"], step)
            elif name == "group":
                assert self.groups is not None
                own = torch.from_numpy(self.groups[self.batches.indices(step)].astype(np.int64))
                batch[name] = to_device(own, image.device)
            elif name.startswith("frame"):
                batch[name] = self.placed(frames[int(name[5:])], step, 0, extent)
            elif name.startswith("near"):
                batch[name] = self.random[int(name[4])](frames[int(name[4])], step, int(name[4]), extent)
            elif name == PAIRED:
                assert self.given is not None and isinstance(self.placed, RandomViews)
                batch[name] = self.given.cropped(raw, self.placed, step)
            elif name == "real":
                batch[name] = self.still(image, step, 0, extent)
            else:
                number = int(name[4:])
                make = self.placed if name.startswith("crop") else self.random[number % 2]
                batch[name] = make(image, step, number, extent)
        return batch

    def _tokens(self, raw: Batch, step: int) -> Tensor:
        """As many tokens as a row has, of a text that goes on behind it from a random place on."""
        texts, size = self.texts, self.cfg.side
        assert texts is not None
        if not self.long:
            return raw["text"]
        rows = self.batches.images.rows[self.batches.indices(step)]  # not the batch's own: they may be on a device
        shifts = self.draws.integers("text/shift", step, (len(rows),), size).numpy()
        shifts = np.minimum(shifts, texts.ends[rows] - texts.offsets[rows] - texts.counts[rows])  # the end is read too
        found = texts.windows(rows, shifts, np.full(len(rows), size))
        return to_device(torch.from_numpy(found), raw["text"].device)

    def _caption(self, captions: Tensor, step: int) -> Tensor:
        """(B, T): of each image's captions (B, K, T) one."""
        there = (captions[:, :, 0] != PAD).sum(1)
        chance = to_device(self.draws.uniform("caption/which", step, (len(captions),)), captions.device)
        which = (chance * there).long().clamp(max=captions.shape[1] - 1)
        found = captions[torch.arange(len(captions), device=captions.device), which]
        if captions.device.type != "cpu":  # else the host would wait for the longest one
            return found
        return found[:, : max(1, int((found != PAD).sum(1).max()))]

    def _frames(self, video: Tensor, step: int) -> list[Tensor]:
        """Consecutive frames, uint8 (B, C, H, W) each, of clips (B, T, H, W, C), from a random one on."""
        count, length = video.shape[:2]
        first = to_device(self.draws.integers("clip/first", step, (count,), length - self.clip + 1), video.device)
        own = torch.arange(count, device=video.device)
        return [video[own, first + i].permute(0, 3, 1, 2) for i in range(self.clip)]


def _domains(batches: Batches, images: Images, draws: Draws, data: str) -> list[Batches]:
    """A stream of each domain, of as many images per step. Raises UsageError where there are none, or too few."""
    if images.column_of(DomainColumn) is None:
        raise UsageError(f"this method learns from two domains of images, and data={data} has none; use data=unpaired")
    found = []
    for domain, word in ((GIVEN, "translated"), (MADE, "made")):
        part = of_domain(images, domain)
        if len(part) < batches.whole:
            raise UsageError(
                f"gan.batch_size={batches.whole}: the domain that is {word} has {len(part)} training images; set"
                f" gan.batch_size={len(part)} or less, or add images"
            )
        found.append(Batches(part, batches.whole, draws, batches.device, purpose=f"shuffle/{domain}"))
    return found


def _texts(images: Images, needs: Sequence[str], data: str) -> TextColumn | None:
    """The texts of the images, where they are texts. Raises UsageError where these and `needs` are of two kinds."""
    texts = images.column_of(TextColumn)
    if texts is None and set(OF_TEXTS) & set(needs):
        raise UsageError(f"this method learns from texts, and data={data} has none; use data=text, or another method")
    if texts is not None and (other := [name for name in needs if name not in (*OF_TEXTS, "label")]):
        raise UsageError(
            f"this method reads {other[0]} of images, and data={data} has texts; use ssl=mlm, ssl=clm or ssl=simcse"
        )
    if DIALOGUE in needs and not images.store.meta.get("messages"):
        raise UsageError(
            "this method learns from dialogues, and data.root has texts; give a .jsonl with a list of messages,"
            ' {"role", "content"}, in every row, or use ssl=clm'
        )
    if PAIR in needs and not images.store.meta.get("pairs"):
        raise UsageError(
            "this method learns from pairs, and the texts of pretraining have no text_b; give a .csv, .tsv or .jsonl"
            " with text (the source) and text_b (the target), or use ssl=clm"
        )
    return texts


def _check_clips(images: Images, count: int, data: str) -> None:
    """Raises UsageError where there are no clips of so many frames."""
    clips = column_of(images)
    if clips is None:
        raise UsageError(f"this method learns from clips, and data={data} has none; use data=video, or another method")
    if clips.frames < count:
        raise UsageError(
            f"data.frames={clips.frames}: this method reads {count} frames in a row; set data.frames={count}"
        )

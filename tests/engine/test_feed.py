"""The batch that a method gets: on a GPU pixels become numbers once for all views."""

from typing import Any

import numpy as np
import pytest
import torch

from gssl.data import Draws
from gssl.data.columns import VideoColumn
from gssl.engine.feed import Feed
from gssl.errors import UsageError
from tests.data.test_batches import make

NEEDS = ("view0", "view1", "crop2", "real")


def feed(tiny, image: torch.Tensor, *overrides: str, needs: tuple[str, ...] = NEEDS) -> Feed:
    cfg = tiny("pretrain-ssl", *overrides).data

    class Batches:
        whole = len(image)

        def __call__(self, step: int) -> dict[str, torch.Tensor]:
            return {"image": image}

    return Feed(Batches(), make(), needs, cfg, Draws(0))  # type: ignore[arg-type]


def test_pixels_are_converted_once(tiny):
    made = feed(tiny, torch.empty((4, 3, 16, 16), dtype=torch.uint8, device="meta"))  # no CPU: as on a GPU
    given: list[torch.Tensor] = []

    def view(image: torch.Tensor, *args: Any) -> torch.Tensor:
        given.append(image)
        return image

    made.random, made.placed, made.still = (view, view), view, view  # type: ignore[assignment]
    made(0)
    assert len(given) == len(NEEDS) and all(image is given[0] and image.dtype == torch.float32 for image in given)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", [0.0, 0.5])
@pytest.mark.parametrize("crops", [True, False])
def test_views_of_numbers_are_those_of_pixels_and_leave_them_alone(tiny, channels, flip, crops):
    g = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (6, 16, 16, channels), dtype=torch.uint8, generator=g).permute(0, 3, 1, 2)
    overrides = [f"data.views.flip={flip}"]
    if not crops:
        overrides += ["data.views.crop_scale=[1,1]", "data.views.crop_ratio=[1,1]", "data.views.rotate=0"]
    converted = image.float().contiguous()  # nothing has to be copied for a view
    kept = converted.clone()
    wanted, found = (feed(tiny, x, *overrides)(3) for x in (image, converted))
    assert torch.equal(converted, kept)
    for name in NEEDS:
        assert torch.equal(wanted[name], found[name])


# ── clips ────────────────────────────────────────────────────────────────────────────────────────


class Numbered:
    """Clips whose pixels say which clip and which frame they are of."""

    whole = 6

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        clip, frame = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
        value = (10 * clip + frame).to(torch.uint8)
        video = value[:, :, None, None, None].expand(6, 8, 16, 16, 3).contiguous()
        return {"image": video[:, 4].permute(0, 3, 1, 2), "video": video}


def of_clips(tiny, *needs: str, frames: int = 8) -> Feed:
    cfg = tiny("pretrain-ssl", "data.views.jitter=0", "data.views.grayscale=0").data
    images = make()
    store = images.store
    store.columns["video"] = VideoColumn(store, frames, np.zeros((len(store) // frames, 16), np.uint8))
    images.stored = ("video",)
    return Feed(Numbered(), images, needs, cfg, Draws(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [("frame0", "frame1", "frame2"), ("near0", "near1")])
def test_frames_follow_one_another_from_a_place_that_step_and_clip_decide(names, tiny):
    feed = of_clips(tiny, *names)
    seen = set()
    for step in range(40):
        batch = feed(step)
        values = [(255 * batch[name]).round()[:, 0, 5, 5].long() for name in names]
        first = values[0] - 10 * torch.arange(6)
        assert torch.equal(values[-1] - values[0], torch.full((6,), len(names) - 1))
        seen |= set(first.tolist())
        assert torch.equal(feed(step)[names[0]], batch[names[0]])
    assert seen == set(range(8 - len(names) + 1))


def test_frames_of_a_clip_are_cropped_and_flipped_alike(tiny):
    feed = of_clips(tiny, "frame0", "frame1")
    pixels = torch.randint(0, 255, (6, 1, 16, 16, 3), dtype=torch.uint8).expand(6, 8, 16, 16, 3)
    feed.batches = lambda step: {"image": pixels[:, 0].permute(0, 3, 1, 2), "video": pixels}  # type: ignore[assignment]
    batch = feed(0)
    assert torch.equal(batch["frame0"], batch["frame1"])


def test_clips_that_are_not_there_or_too_short_are_refused(tiny):
    with pytest.raises(UsageError, match="learns from clips, and data=imagefolder has none"):
        feed(tiny, torch.zeros((4, 3, 16, 16), dtype=torch.uint8), needs=("frame0",))
    with pytest.raises(UsageError, match=r"data.frames=2: this method reads 3 frames"):
        of_clips(tiny, "frame2", frames=2)


# ── texts ────────────────────────────────────────────────────────────────────────────────────────


def test_a_long_text_is_read_from_a_random_place_of_its_own_and_no_device_is_waited_for(tmp_path, monkeypatch):
    """Documents of letters in a known order: no row goes on into the next document."""
    from gssl.config.composing import compose
    from gssl.data import Batches
    from gssl.data.splits import load_data

    for i, first in enumerate("aAaAaA"):
        (tmp_path / f"{i}.txt").write_text("".join(chr(ord(first) + j % 26) for j in range(400)))
    words = [f"data.root={tmp_path}", "data.tokenizer=byte", "data.size=8", "data.long=split", "data.val_fraction=0.5"]
    cfg = compose("pretrain-ssl", ["data=text", "ssl=clm", *words]).data
    images, draws = load_data(cfg).pretrain, Draws(0)
    batches = Batches(images, 8, draws, torch.device("cpu"))
    made = Feed(batches, images, ("tokens",), cfg, draws)
    assert made.long
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: pytest.fail("the rows of a batch are known without it"))
    column, starts = images.column_of(type(made.texts)), []
    for step in range(2 * len(images) // 8):  # the last rows of the documents, too
        tokens = made(step)["tokens"].numpy()
        for row, own in zip(images.rows[batches.indices(step)], tokens, strict=True):
            assert (np.diff(own) % 26 == 1).all() and len(own) == 8  # one letter after the other: within a document
            starts.append((own[0] - column.values[column.offsets[row]]) % 26)
            assert starts[-1] < 8 and (starts[-1] == 0 or column.offsets[row] + 8 < column.ends[row])
    assert len(set(starts)) > 3
    assert np.array_equal(made(2)["tokens"].numpy(), made(2)["tokens"].numpy())


def test_one_of_an_images_captions_is_drawn_and_none_of_another(tmp_path):
    from gssl.config.composing import compose
    from gssl.data import Batches
    from gssl.data.columns import CaptionColumn
    from gssl.data.splits import load_data
    from tests.data.captioned import set_of_captioned

    words = ["data=imagetext", "ssl=clip", f"data.root={set_of_captioned(tmp_path)}", "data.tokenizer=byte"]
    cfg = compose("pretrain-ssl", [*words, "data.size=16"]).data
    images, draws = load_data(cfg).pretrain, Draws(0)
    batches = Batches(images, 12, draws, torch.device("cpu"))
    made = Feed(batches, images, ("crop0", "caption", "captions", "group"), cfg, draws)
    column, codes, taken = images.column_of(CaptionColumn), images.group_codes(), []
    for step in range(12):
        batch = made(step)
        own = batches.indices(step)
        assert batch["crop0"].shape == (12, 3, 16, 16) and (batch["group"].numpy() == codes[own]).all()
        for row, caption, every in zip(images.rows[own], batch["caption"].numpy(), batch["captions"], strict=True):
            known = [ids.tolist() for ids in column.texts(row)]
            taken.append(known.index([i for i in caption.tolist() if i]))
            assert [[i for i in ids if i] for ids in every.tolist()] == known
    assert 0.3 < np.mean(taken) < 0.7  # the second one of two
    assert torch.equal(made(3)["caption"], made(3)["caption"])


def test_captions_are_asked_for_where_there_are_none(tiny):
    with pytest.raises(UsageError, match="learns from captions, and data=imagefolder has none; use data=imagetext"):
        feed(tiny, torch.zeros((4, 3, 16, 16), dtype=torch.uint8), needs=("crop0", "caption"))

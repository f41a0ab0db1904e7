"""Which maps are read is chosen by pieces pasted into good images, and by nothing else."""

import functools

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from gssl.data import Draws
from gssl.nets.backbone import build_backbone
from gssl.probe import dense
from gssl.probe.pasted import choose, pasted, told_apart
from gssl.probe.patches import PatchMaps, kept
from gssl.schemas import Backbone
from tests.probe.test_anomaly import CPU, SETTING, gaussian, neighbours, waves

MENU = [[8.0, 16.0], [2.0, 4.0], [2.0, 16.0]]


@functools.lru_cache
def network_setting() -> dense.DenseSetting:
    network = build_backbone(Backbone(name="convnet", norm="batch", width=8, patch=4), 32).eval()
    return dense.DenseSetting(dense.NetworkMaps(network), 2, CPU, 0, Draws(0))


def test_a_piece_is_large_and_a_scar_is_thin_and_both_come_of_the_image():
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    areas = []
    for index in range(40):
        found = pasted(image, Draws(1), index)
        again = pasted(image, Draws(1), index)
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
        assert all(float(x.min()) >= 0 and float(x.max()) <= 1 and x.shape == image.shape for x in found)
        areas.append([(x != image).any(dim=0).float().mean().item() for x in found])
    piece, scar = np.array(areas).T
    assert 0.02 < piece.mean() < 0.15 and piece.max() < 0.2  # some reach over the edge
    assert 0 < scar.max() < 25 / 256 * 16 / 256 * 64 / 96 * 2.5 and scar.mean() < piece.mean() / 8
    assert not torch.equal(pasted(image, Draws(1), 0)[0], pasted(image, Draws(1), 1)[0])


def test_the_auroc_is_that_of_scikit_learn_over_the_same_images():
    setting, images = network_setting(), waves(12)
    head = neighbours().fit(waves(20, seed=3), SETTING).head
    maps = PatchMaps(dense.pixels, 4, (0, 99))
    x = torch.stack([images.fetch(np.array([i]))["image"][0].float() / 255 for i in range(12)])
    pairs = [pasted(image, setting.draws, i) for i, image in enumerate(x)]
    good, piece, scar = (head(maps(s)).amax(dim=(1, 2)) for s in (x, *map(torch.stack, zip(*pairs, strict=True))))
    label = np.repeat([0, 1], 12)
    by_hand = np.mean([roc_auc_score(label, torch.cat([good, other])) for other in (piece, scar)])
    assert told_apart(images, maps, head, setting) == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize("probe", [neighbours, gaussian])
def test_the_best_entry_is_taken_and_fitted_on_all_images(probe):
    fit = probe(reductions=MENU).fit(waves(30), network_setting())
    found = fit.chosen["pasted_auroc"]
    assert list(found) == ["8 to 16", "2 to 4", "2 to 16"]
    low, high = fit.chosen["reductions"]
    assert found[f"{low:g} to {high:g}"] == max(found.values()) and fit.described()["reductions"] == [low, high]
    alone = probe(reductions=[[low, high]]).fit(waves(30), network_setting())
    assert all(torch.equal(own, alone.head.state_dict()[name]) for name, own in fit.head.state_dict().items())


def test_images_that_are_asked_are_not_among_those_of_the_fit():
    seen, images = [], waves(30)

    def fit(some, maps):
        seen.append(set(some.rows.tolist()))
        return neighbours().head(some, maps, network_setting())

    choose(images, network_setting(), 4, MENU, 20, fit)
    assert len(seen) == 3 and all(rows == seen[0] for rows in seen) and len(seen[0]) == 16


def test_the_first_is_taken_where_there_is_nothing_to_choose():
    def never(some, maps):
        raise AssertionError

    assert choose(waves(9), network_setting(), 4, MENU, 300, never) == (MENU[0], {"reductions": MENU[0]})  # too few
    assert choose(waves(30), SETTING, 4, MENU, 300, never)[0] == MENU[0]  # pixels have one scale
    assert choose(waves(30), network_setting(), 4, [[2, 4], [2, 5]], 300, never)[0] == [2, 4]  # the same maps


def test_cells_are_counted_in_powers_of_two():
    for width in (64, 72, 84, 85, 87, 128):
        maps, size = [], width
        for _ in range(4):
            size = -(-size // 2)
            maps.append(torch.zeros(1, 2, size, size))
        x = torch.zeros(1, 3, width, width)
        assert kept(maps, x, (4, 16)) == [1, 2, 3] and kept(maps, x, (8, 16)) == [2, 3]
    assert kept(maps, x, (50, 60)) == [0, 1, 2, 3]

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.metrics import roc_auc_score

from gssl.data import Draws, Images
from gssl.data.columns import IGNORE, UNKNOWN_PLACE, AnomalyColumn
from gssl.data.memory import MemoryStore
from gssl.nets.backbone import build_backbone
from gssl.probe import dense
from gssl.probe.anomaly import Gaussian, Nearest, Neighbours, blank, rows_of, scored
from gssl.probe.patches import PatchMaps, k_centre, projected, sampled, scale_of, smoothed, views
from gssl.schemas import Backbone
from gssl.schemas.probes import Anomaly, AnomalyGaussian
from gssl.statistics.anomaly import BINS, aupro_of, image_auroc_of, pixel_auroc_of

CPU = torch.device("cpu")
SETTING = dense.DenseSetting(dense.pixels, 2, CPU, 0, Draws(3))


def images_of(pixels: np.ndarray, kinds: np.ndarray) -> Images:
    """uint8 (n, h, w, 3) and values of the column, uint8 (n, h, w)."""
    store = MemoryStore(pixels)
    store.columns["anomaly"] = AnomalyColumn(kinds.reshape(-1), store.shapes, np.zeros((len(kinds), 16), np.uint8))
    return Images(store, np.arange(len(pixels)), np.full(len(pixels), -1), ["good", "spot"])


def waves(n: int, seed: int = 0, spots: int = 0) -> Images:
    """Grey waves of 32 px; the last `spots` of them have a dark square."""
    random = np.random.default_rng(seed)
    phase = random.random((n, 1, 1)) * 6
    grey = 128 + 60 * np.sin(np.arange(32) / 3 + phase) + random.normal(0, 4, (n, 32, 32))
    kinds = np.zeros((n, 32, 32), dtype=np.uint8)
    for i in range(n - spots, n):
        y, x = random.integers(0, 24, 2)
        kinds[i, y : y + 8, x : x + 8] = 1
    grey[kinds > 0] = 30
    return images_of(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=3), kinds)


ONE = {"reductions": [[2, 16]], "choice": 300}  # a menu of one


def neighbours(**changes) -> Neighbours:
    values = {"stride": 4, "patches": 400, "bank": 60, "projection": 8, "smooth": 5}
    return Neighbours(Anomaly.model_validate(ONE | values | changes))


def gaussian(**changes) -> Gaussian:
    values = {"stride": 8, "patches": 400, "channels": 6, "shrink": 0.01, "smooth": 5}
    return Gaussian(AnomalyGaussian.model_validate(ONE | values | changes))


# ── patches ──────────────────────────────────────────────────────────────────────────────────────


def test_k_centre_is_that_of_all_distances():
    x = np.random.default_rng(0).normal(size=(80, 5))
    found = k_centre(torch.from_numpy(x), 20, first=7).tolist()
    apart, chosen = cdist(x, x), [7]
    while len(chosen) < 20:
        chosen.append(int(apart[:, chosen].min(axis=1).argmax()))
    assert found == chosen
    assert k_centre(torch.from_numpy(x), 100).tolist() == list(range(80))


def test_distances_survive_the_projection():
    x = torch.randn(40, 300, generator=torch.Generator().manual_seed(0))
    small = projected(x, 64, Draws(0))
    ratio = torch.pdist(small) / torch.pdist(x)
    assert small.shape == (40, 64) and abs(ratio.mean() - 1) < 0.05 and ratio.std() < 0.15
    assert projected(x, 300, Draws(0)) is x


def test_patches_of_a_network_are_those_of_its_middle_stages():
    network = build_backbone(Backbone(name="convnet", norm="batch", width=8, patch=4), 32).eval()
    x = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = network.dense(x)
    found = PatchMaps(dense.NetworkMaps(network), 8, (2, 4))(x)
    assert [x.shape[-1] // m.shape[-1] for m in maps] == [1, 2, 4, 8] and found.shape == (2, 16 + 32, 4, 5)
    by_hand = torch.nn.functional.adaptive_avg_pool2d(smoothed(maps[1], 3), (4, 5))
    assert torch.allclose(found[:, :16], by_hand)
    every = PatchMaps(dense.NetworkMaps(network), 8, (50, 60))(x)  # a network with one scale is read as it is
    assert every.shape[1] == sum(network.dims)


def test_smoothing_knows_of_nothing_outside():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    assert smoothed(x, 3)[0, 0, 0, 0] == pytest.approx((0 + 1 + 4 + 5) / 4)
    assert smoothed(x, 3)[0, 0, 1, 1] == pytest.approx(x[0, 0, :, :3].mean())


def test_every_image_gives_as_many_patches_whatever_the_batches():
    maps, images = PatchMaps(dense.pixels, 8, (2, 16)), waves(9)
    a = sampled(images, maps, 40, Draws(0), CPU)
    assert a.shape == (9 * 4, 27)
    assert torch.equal(a[:8], sampled(images.subset(np.arange(2)), maps, 8, Draws(0), CPU))
    assert len(sampled(images, maps, 5, Draws(0), CPU)) == 5  # of five images, one each
    mean, std = scale_of(torch.cat([a, torch.ones(len(a), 1)], dim=1))
    assert std[-1] == 1 and mean[-1] == 1 and (std[:-1] < 1).all()


# ── the two probes ───────────────────────────────────────────────────────────────────────────────


def test_nearest_is_the_smallest_distance():
    random = torch.Generator().manual_seed(0)
    x, bank = torch.randn(3, 5, 4, 2, generator=random), torch.randn(30, 5, generator=random)
    mean, std = torch.randn(5, generator=random), torch.rand(5, generator=random) + 0.5
    found = Nearest(mean, std, bank)(x)
    rows = ((x.permute(0, 2, 3, 1) - mean) / std).reshape(-1, 5)
    assert found.flatten().numpy() == pytest.approx(cdist(rows, bank).min(axis=1), rel=1e-4)
    score, map_ = scored(found, (16, 8), 3)
    assert torch.equal(score, found.amax((1, 2))) and map_.shape == (3, 16, 8)


def test_gaussians_give_the_distances_of_scipy():
    images = waves(30)
    fit = gaussian().fit(images, SETTING)
    head, maps = fit.head, PatchMaps(dense.pixels, 8, (2, 16))
    features = torch.cat([maps(x) for x, _ in views(images, CPU)])
    rows = ((features - head.mean[:, None, None]) / head.std[:, None, None])[:, head.channels].flatten(2).numpy()
    new = PatchMaps(dense.pixels, 8, (2, 16))(next(views(waves(4, seed=9), CPU))[0])
    found = head(new).flatten(1).numpy()
    standard = ((new - head.mean[:, None, None]) / head.std[:, None, None])[:, head.channels].flatten(2).numpy()
    for cell in (0, 5, 15):
        inverse = np.linalg.inv(np.cov(rows[:, :, cell].T.astype(np.float64)) + 0.01 * np.eye(6))
        own = [mahalanobis(image[:, cell], rows[:, :, cell].mean(axis=0), inverse) for image in standard]
        assert found[:, cell] == pytest.approx(own, rel=1e-3)


@pytest.mark.parametrize("probe", [neighbours(), gaussian(channels=20)], ids=["neighbours", "gaussian"])
def test_spots_are_found_and_where_they_are(probe):
    fit = probe.fit(waves(40), SETTING)
    test = waves(30, seed=1, spots=12)
    rows = fit.rows(test).astype(np.float64)
    assert rows.shape == (30, 2 + 2 + 3 * BINS) and fit.unselected == []
    assert image_auroc_of(rows, np.ones((1, 30)))[0] > 0.9
    assert pixel_auroc_of(rows.sum(axis=0)) > 0.9 and aupro_of(rows.sum(axis=0)) > 0.6
    score, places = fit.scores(next(views(test.subset(np.arange(28, 30)), CPU))[0])
    assert score.shape == (2,) and places.shape == (2, 32, 32)
    assert places[0][torch.from_numpy(test.fetch(np.array([28]))["anomaly"][0].numpy() > 0)].mean() > places[0].mean()


def test_the_same_good_images_give_the_same_fit_and_few_of_them_do():
    a, b = (neighbours().fit(waves(40), SETTING) for _ in range(2))
    assert torch.equal(a.head.bank, b.head.bank) and a.chosen == {"reductions": [2, 16], "bank": 60}
    one = waves(1)
    for probe in (neighbours(), gaussian()):
        found = probe.fit(one, SETTING)
        assert np.isfinite(found.rows(waves(4, spots=2))).all()
    assert neighbours().fit(one, SETTING).chosen == {"reductions": [2, 16], "bank": 60}


def test_places_that_are_not_known_count_nowhere():
    test = waves(6, spots=2)
    kinds = test.fetch(np.arange(6))["anomaly"].numpy().copy()
    kinds[5] = UNKNOWN_PLACE + 1
    changed = images_of(np.array([test.store.image(i) for i in range(6)]), kinds)
    fit = neighbours().fit(waves(20), SETTING)
    a, b = fit.rows(test), fit.rows(changed)
    assert b[5, :2].tolist() == [0, 1] and b[5, 3:].sum() == 0 and a[5, 3:].sum() > 0
    assert roc_auc_score([0, 0, 0, 0, 1, 1], b[:, 2]) == 1 and IGNORE == 255


def test_images_of_another_size_are_brought_to_the_grid_of_the_good_ones():
    fit = gaussian().fit(waves(10), SETTING)
    score, places = fit.scores(torch.rand(1, 3, 40, 24))
    assert score.shape == (1,) and places.shape == (1, 40, 24) and bool(places.isfinite().all())


def test_a_head_is_built_again_from_its_description_and_gives_the_same_distances():
    network = build_backbone(Backbone(name="convnet", norm="batch", width=8, patch=4), 32).eval()
    setting = dense.DenseSetting(dense.NetworkMaps(network), 2, CPU, 0, Draws(0))
    x = next(views(waves(3, seed=5), CPU))[0]
    for probe in (neighbours(), gaussian()):
        fit = probe.fit(waves(12), setting)
        again = blank(fit.described(), network).eval()
        again.head.load_state_dict(fit.head.state_dict())
        with torch.no_grad():
            found = again.scored(x)
        assert all(torch.equal(a, b) for a, b in zip(found, fit.scores(x), strict=True))


def test_models_that_are_scored_together_are_scored_as_alone():
    fits = [
        neighbours().fit(waves(10), SETTING),
        gaussian().fit(waves(10), SETTING),
        neighbours().fit(waves(3), SETTING),
    ]
    test = waves(7, seed=2, spots=3)
    for fit, rows in zip(fits, rows_of(fits, test), strict=True):
        assert np.array_equal(rows, fit.rows(test))

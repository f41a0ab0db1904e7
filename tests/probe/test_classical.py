"""Learning without a network: against scikit-learn, against the paper's formulas written out, and without labels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from gssl.data import Draws
from gssl.errors import JobError, UsageError
from gssl.probe import classical
from gssl.probe.features import pixels
from gssl.schemas import classical as schema

CPU = torch.device("cpu")
PCA_CFG = schema.Pca(side=8, dim=10, whiten=False)
MEANS = schema.Kmeans(centres=7, patch=3, stride=1, patches=400, iterations=20, contrast=10.0, epsilon=0.1)


OF_IMAGES = ["pca", "kmeans"]


def cfg(**changes) -> SimpleNamespace:
    own = {name: MEANS.__dict__[name] for name in MEANS.__dict__} | changes
    return SimpleNamespace(pca=PCA_CFG, kmeans=schema.Kmeans(**own))


@pytest.fixture
def blurred(stored):
    """60 smooth random images of 12×12 in one or three channels."""

    def make(channels: int = 3, count: int = 60, seed: int = 0):
        rng = np.random.default_rng(seed)
        raw = np.repeat(np.repeat(rng.integers(0, 256, (count, 4, 4, channels)), 3, axis=1), 3, axis=2)
        noisy = np.clip(raw + rng.normal(0, 12, raw.shape), 0, 255).astype(np.uint8)
        return stored(noisy, np.arange(count) % 2)

    return make


# ── principal components ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("whiten", [False, True])
def test_components_are_scikit_learns(blurred, whiten):
    train, test = blurred(), blurred(seed=1)
    ours = classical.Pca.fit(schema.Pca(side=8, dim=10, whiten=whiten), train, 12)
    theirs = PCA(10, whiten=whiten, svd_solver="full").fit(pixels(train, 12).astype(np.float64))
    got, expected = ours.features(test), theirs.transform(pixels(test, 12).astype(np.float64))
    signs = np.sign((got * expected).sum(axis=0))
    assert got.dtype == np.float32 and np.allclose(got, signs * expected, atol=2e-5)
    assert ours.explained == pytest.approx(theirs.explained_variance_ratio_.sum())
    scale = np.sqrt(theirs.explained_variance_) if whiten else 1.0
    overlap = np.linalg.svd(theirs.components_ @ (ours.basis * scale), compute_uv=False)
    assert overlap == pytest.approx(np.ones(10), abs=1e-9)  # the same subspace


def test_no_more_components_than_there_are(blurred):
    few = classical.Pca.fit(schema.Pca(side=8, dim=500, whiten=True), blurred(count=20), 12)
    assert few.basis.shape == (192, 19)
    assert few.explained == pytest.approx(1)
    assert few.record() == {"dims": 19, "of": 192, "explained_variance": few.explained}
    assert np.isfinite(few.features(blurred(seed=1))).all()


def test_images_without_any_difference_are_refused(stored):
    same = stored(np.full((5, 12, 12, 3), 77, np.uint8), np.zeros(5, int))
    with pytest.raises(JobError, match="weights=pca: all 5 images are the same"):
        classical.Pca.fit(PCA_CFG, same, 12)
    with pytest.raises(JobError, match=r"classical\.kmeans\.centres=7: there are fewer different patches"):
        classical.Kmeans.fit(MEANS, same, 12, Draws(0), CPU)


# ── k-means on patches ───────────────────────────────────────────────────────────────────────────


def written_out(means: classical.Kmeans, crop: np.ndarray) -> np.ndarray:
    """One image (C, S, S): the paper's section 3, patch by patch in float64."""
    c, size, p = means.cfg, crop.shape[1], means.cfg.patch
    mean, whiten, centres = (t.double().numpy() for t in (means.mean, means.whiten, means.centres))
    starts = range(0, size - p + 1, c.stride)
    out = np.zeros((len(starts), len(starts), len(centres)))
    for i, top in enumerate(starts):
        for j, left in enumerate(starts):
            x = 255 * crop[:, top : top + p, left : left + p].ravel().astype(np.float64)
            x = (x - x.mean()) / np.sqrt(x.var(ddof=1) + c.contrast)
            z = np.linalg.norm((x - mean) @ whiten - centres, axis=1)
            out[i, j] = np.maximum(0, z.mean() - z)
    half = len(starts) // 2
    parts = [out[i, j] for i in (slice(half), slice(half, None)) for j in (slice(half), slice(half, None))]
    return np.concatenate([part.mean(axis=(0, 1)) for part in parts])


@pytest.mark.parametrize(("stride", "channels"), [(1, 3), (2, 3), (1, 1)])
def test_features_are_the_papers(blurred, stride, channels):
    images = blurred(channels)
    learnt = cfg(stride=stride).kmeans
    means = classical.Kmeans.fit(learnt, images, 12, Draws(0), CPU)
    got = means.features(images)
    assert got.shape == (60, 28) and got.dtype == np.float32
    for i in (0, 59):
        crop = images.fetch(np.array([i]))["image"][0].numpy() / 255
        assert got[i] == pytest.approx(written_out(means, crop), abs=2e-4)
    assert (got > 0).mean() > 0.5


def test_whitening_leaves_every_direction_its_share(blurred):
    images = blurred()
    means = classical.Kmeans.fit(MEANS, images, 12, Draws(0), CPU)
    patches = classical.normalised(classical.random_patches(MEANS, images, 12, Draws(0)), MEANS.contrast)
    values = np.linalg.eigvalsh(np.cov(patches.double().numpy(), rowvar=False))
    white = np.cov(((patches - means.mean) @ means.whiten).double().numpy(), rowvar=False)
    assert np.linalg.eigvalsh(white) == pytest.approx(values / (values + MEANS.epsilon), abs=1e-4)
    assert torch.allclose(means.whiten, means.whiten.T, atol=1e-6)  # zero-phase


def test_patches_are_parts_of_the_images_and_come_from_all_over(stored):
    """Every pixel says which image it is of and where it lies."""
    place = np.arange(144).reshape(12, 12)
    raw = np.stack([np.stack([place, np.full((12, 12), i), 255 - place], axis=-1) for i in range(9)])
    images = stored(raw.astype(np.uint8), np.zeros(9, int))
    many = cfg(patches=2000).kmeans
    found = (255 * classical.random_patches(many, images, 12, Draws(0))).round().int().reshape(2000, 3, 3, 3)
    corner = found[:, 0, 0, 0]
    assert {int(c) for c in corner} == {int(place[i, j]) for i in range(10) for j in range(10)}
    assert {int(i) for i in found[:, 1].flatten()} == set(range(9))
    assert torch.equal(found[:, 0], corner[:, None, None] + torch.arange(3)[:, None] * 12 + torch.arange(3))
    assert torch.equal(found[:, 2], 255 - found[:, 0])
    assert (found[:, 1] == found[:, 1, :1, :1]).all()


def test_features_do_not_depend_on_the_batch_and_repeat(blurred, monkeypatch):
    images = blurred()
    learnt = classical.learn("kmeans", cfg(), images, 12, 3, CPU)
    whole = learnt.features(images)
    single = np.concatenate([learnt.features(images.subset([i])) for i in range(60)])
    assert np.allclose(whole, single, atol=1e-5)
    monkeypatch.setattr(classical, "BLOCK", 1)
    assert np.allclose(whole, learnt.features(images), atol=1e-5)
    again = classical.learn("kmeans", cfg(), images, 12, 3, CPU)
    assert np.array_equal(learnt.features(images.subset([0])), again.features(images.subset([0])))
    other = classical.learn("kmeans", cfg(), images, 12, 4, CPU)
    assert not np.allclose(whole, other.features(images), atol=1e-2)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_no_label_is_read(blurred, stored, name):
    images = blurred()
    shuffled = images.subset(np.arange(60))
    shuffled.labels = shuffled.labels[::-1].copy()
    one = classical.learn(name, cfg(), images, 12, 0, CPU).features(images)
    assert np.array_equal(one, classical.learn(name, cfg(), shuffled, 12, 0, CPU).features(shuffled))
    assert np.array_equal(one, classical.learn(name, cfg(), images.unlabelled(), 12, 0, CPU).features(images))


def test_grey_images_are_seen_by_what_has_learnt_from_colours(blurred):
    for name in OF_IMAGES:
        learnt = classical.learn(name, cfg(), blurred(), 12, 0, CPU)
        assert learnt.features(blurred(channels=1)).shape[1] == learnt.record["dims"]


def test_what_was_fitted_is_told(blurred):
    record = classical.learn("kmeans", cfg(), blurred(), 12, 0, CPU).record
    told = {key: record[key] for key in ("method", "images", "dims", "centres", "patches")}
    assert told == {"method": "kmeans", "images": 60, "dims": 28, "centres": 7, "patches": 400}
    assert 1 <= record["iterations"] <= 20 and record["inertia"] > 0 and record["seconds"] >= 0


def test_too_small_images_are_refused_before_anything_is_learnt():
    with pytest.raises(UsageError, match=r"classical\.kmeans\.patch=12: .* expected at most 11"):
        classical.check("kmeans", cfg(patch=12), 12)
    with pytest.raises(UsageError, match=r"classical\.pca\.side=8"):
        classical.check("pca", cfg(), 7)
    for fine in ("pca", "pixels", "random"):
        classical.check(fine, cfg(patch=12), 12)
    classical.check("kmeans", cfg(patch=11), 12)

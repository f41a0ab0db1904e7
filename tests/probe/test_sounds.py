"""Controls of sounds: against SciPy's cosine transform and plain NumPy."""

import numpy as np
import pytest
from scipy.fft import dct

from gssl.config.composing import compose
from gssl.data.splits import load_data
from gssl.errors import UsageError
from gssl.nets.log_mel import LogMel
from gssl.probe import sounds

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for i in range(24):
        path = root / "ab"[i % 2] / f"s{i % 4}_{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(2000 + 100 * i), 8000)
    words = ["data=audio", f"data.root={root}", "data.groups='{group}_*'", "data.size=16", "weights=mfcc"]
    cfg = compose("transfer", words + ["data.seconds=0.5", "data.test=split", "classical.mfcc.coefficients=12"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GSSL_CACHE", str(root / "cache"))
        yield cfg, load_data(cfg.data).train


def test_cepstral_coefficients_are_those_of_scipy(found):
    cfg, images = found
    own = sounds.of("mfcc", cfg.classical, 16, 20.0)
    x = own.features(images)
    assert x.shape == (len(images), 24) == (len(images), own.record()["dims"]) and x.dtype == np.float32
    log_mel, column = LogMel(8000, 16, 20.0), images.store.columns["audio"]
    lengths = images.store.array("length")[images.rows]
    for i in (0, len(images) - 1):
        spectrogram = log_mel(__import__("torch").from_numpy(column.fetch(images.rows[[i]])))[0, 0].numpy()
        inside = np.abs(np.arange(spectrogram.shape[1]) * 160 - 2000) <= lengths[i] / 2
        theirs = dct(spectrogram, axis=0, norm="ortho")[:12, inside]
        np.testing.assert_allclose(x[i], np.concatenate([theirs.mean(1), theirs.std(1)]), atol=1e-4)


def test_padding_counts_where_it_is_asked_for(found):
    cfg, images = found
    short = int(images.store.array("length")[images.rows].argmin())
    own, padded = (sounds.moments(images, 16, 20.0, flag, sounds.cosines(16, 16)) for flag in (False, True))
    assert padded[short, 0] < own[short, 0]  # silence takes the mean down
    plain = sounds.of("mel_stats", cfg.classical, 16, 20.0).features(images)
    assert plain.shape == (len(images), 32) and np.isfinite(plain).all()


def test_loudness_knows_length_and_level_alone(found):
    cfg, images = found
    x = sounds.loudness(images, True)
    lengths = images.store.array("length")[images.rows]
    np.testing.assert_allclose(x[:, 2], np.log(lengths / 8000), rtol=1e-5)
    np.testing.assert_allclose(np.exp(x[:, 0]), 0.1, rtol=0.1)
    assert sounds.loudness(images, False).shape[1] == 2 and (x[:, 1] > x[:, 0]).all()


def test_pixels_are_a_small_spectrogram(found):
    _, images = found
    assert sounds.pixels(images, 16, 20.0).shape == (len(images), 400)


def test_more_coefficients_than_bands_are_refused(found):
    cfg, _ = found
    with pytest.raises(UsageError, match="classical.mfcc.coefficients=12: are of data.size=8 mel bands"):
        sounds.check("mfcc", cfg.classical, 8)

"""n-grams of bytes against an implementation by dictionaries, and compressors."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from gssl.metrics.ngrams import NGrams, compressed

KNOWN = [b"the cat sat on the mat", b"the dog sat on the log", b"a cat"]


def by_dictionaries(known, text, orders):
    """Witten-Bell, one probability after another."""
    counts = [defaultdict(Counter) for _ in range(orders)]
    for own in known:
        padded = b"\0" * (orders - 1) + own
        for i in range(orders - 1, len(padded)):
            for n in range(orders):
                counts[n][padded[i - n : i]][padded[i]] += 1
    padded, found = b"\0" * (orders - 1) + text, []
    for i in range(orders - 1, len(padded)):
        p = 1 / 256
        for n in range(orders):
            seen = counts[n].get(padded[i - n : i])
            if seen:
                p = (seen[padded[i]] + len(seen) * p) / (sum(seen.values()) + len(seen))
        found.append(-np.log2(p))
    return np.array(found)


@pytest.mark.parametrize("text", [b"the cat sat on the log", b"zebra \xff", b"a"])
def test_they_are_those_of_dictionaries(text):
    ngrams = NGrams(KNOWN, 4)
    for n in range(1, 5):
        np.testing.assert_allclose(ngrams.bits(text)[n - 1], by_dictionaries(KNOWN, text, n), rtol=1e-12)


def test_probabilities_add_up_to_one():
    ngrams = NGrams(KNOWN, 3)
    last = [ngrams.bits(b"the c" + bytes([b]))[-1][-1] for b in range(256)]
    assert abs(sum(2.0**-b for b in last) - 1) < 1e-12


def test_a_compressor_profits_from_what_it_has_read():
    text = bytes(range(65, 91)) * 4
    found = compressed(text * 20, text)
    assert set(found) == {"zlib", "bz2", "xz"} and all(value < 2 for value in found.values())
    noise = np.random.default_rng(0).integers(0, 256, 2000).astype(np.uint8).tobytes()
    assert compressed(text, noise)["zlib"] > 7.9

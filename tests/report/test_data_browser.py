"""The page of a data report in a real browser: nothing is wider than the window, every picture is there."""

import os

import pytest

from gssl.report import data_page

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def document():
    """A document with long names and every section."""
    long = "a_class_with_a_name_that_is_much_longer_than_names_of_classes_are_in_most_data_sets"
    own = [
        {"index": i, "file": f"/data/{'very_long_folder_' * 6}/{i}.png", "part": "train", "label": long}
        for i in range(30)
    ]
    spread = dict.fromkeys(("min", "low", "median", "high", "max"), 32.0)
    numbers = {key: [32.0 + i % 7 for i in range(30)] for key in ("shorter", "aspect", "brightness", "contrast")}
    group = {"exact": False, "mirrored": True, "torn": True, "conflicting": True, "n": 9, "images": own[:6]}
    copies = dict.fromkeys(("exact", "near", "superfluous", "torn", "test_images", "conflicting"), 1)
    return {
        "schema": "gssl.data/1",
        "gssl": "0",
        "data": {"called": "photos " + "x" * 120, "name": "imagefolder", "root": "/data"},
        "images": 30,
        "parts": {"train": 20, "val": 4, "test": 4, "pretrain": 2},
        "classes": [long, "b"],
        "class_counts": {name: [3, 4] for name in ("train", "val", "test", "pretrain")},
        "labelled": 30,
        "files": {"formats": {"PNG": 30}, "modes": {"RGB": 30}, "bytes": spread | {"total": 1e6}, "common": [],
                  "rotated": 1, "animated": 0},
        "shapes": {"shorter": spread, "longer": spread, "aspect": spread, "sizes": 3},
        "values": {"mean": [0.5] * 3, "std": [0.2] * 3, "range": [0, 255], "grey": 0},
        "skipped": ["/data/" + "y" * 300 + ".png (broken)"],
        "warnings": [],
        "unused": {".heic": {"n": 2, "readable": False, "examples": ["/data/" + "z" * 200]}},
        "remarkable": {"blank": {"text": "nothing can be seen", "n": 2, "images": own[:2]}},
        "duplicates": copies | {"groups": 2, "images": 12, "shown": [group, group]},
        "features": {"network": "random-conv", "about": "random convolutions", "note": "they know little", "n": 30},
        "outliers": {"n": 1, "fence": 1.0, "images": [row | {"distance": 0.5} for row in own]},
        "suspects": {"n": 3, "agreement": 0.8, "chance": 0.5, "often": [{"label": long, "likely": "b", "n": 3}],
                     "images": [row | {"likely": "b", "given": 0.0, "vote": 1.0} for row in own[:3]]},
        "clusters": [{"n": 30, "classes": [{"label": long, "n": 20}], "images": own[:8]}],
        "map": [row | {"x": float(i), "y": float(i % 5), "mark": None} for i, row in enumerate(own)],
        "examples": [{"name": long, "n": 30, "images": own[:8]}],
        "problems": [{"kind": "x", "grave": True, "text": "/data/" + "w" * 200}],
        "suggestions": [{"text": "data.size=32", "overrides": []}],
        "numbers": numbers | {"kilobytes": [float(i + 1) for i in range(30)]},
    }  # fmt: skip


def test_every_section_is_rendered_and_empty_ones_are_not():
    whole = data_page.render(document(), dict.fromkeys(range(30), PIXEL))
    for name in ("summary", "counts", "copies", "suspects", "outliers", "clusters", "map", "examples", "files"):
        assert f'<section id="{name}">' in whole and f'href="#{name}"' in whole
    few = document() | {"suspects": None, "outliers": None, "clusters": [], "map": [], "skipped": [], "unused": {}}
    bare = data_page.render(few | {"remarkable": {}, "features": None}, {})
    for name in ("suspects", "outliers", "clusters", "map", "files"):
        assert f'id="{name}"' not in bare and f'href="#{name}"' not in bare


@pytest.mark.parametrize(
    ("column", "key", "said"),
    [
        ("label", "class_counts", "Images"),
        ("boxes", "class_boxes", "Boxes"),
        ("anomaly", "class_images", "Images"),
        ("video", "class_counts", "Clips"),
        ("mask", "class_pixels", "Percent of the pixels that are not ignored"),
    ],
)
def test_what_is_counted_is_called_by_its_name(column, key, said):
    text = document() | {"column": column}
    counts = text.pop("class_counts")
    assert f"{said}, by class and part." in data_page.render(text | {key: counts}, dict.fromkeys(range(30), PIXEL))


@pytest.mark.long
def test_nothing_is_wider_than_the_window(chromium, tmp_path):
    binary = chromium.find()
    if binary is None:
        if os.environ.get("GSSL_CI"):
            pytest.fail("no Chromium: the page cannot be opened; .ci/run installs it")
        pytest.skip("no Chromium on the PATH (apt-get install chromium)")
    path = tmp_path / "page.html"
    path.write_text(data_page.render(document(), dict.fromkeys(range(30), PIXEL)))
    browser = chromium.Browser(binary, tmp_path / "profile")
    try:
        for width in (400, 1400):
            browser.look(width)
            browser.open(path)
            assert browser.run("document.documentElement.scrollWidth") <= width
            broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
            assert browser.run(broken) == 0 and browser.run("document.images.length") > 40
        assert not [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
    finally:
        browser.close()

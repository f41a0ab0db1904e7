"""How names and numbers are shown."""

import pytest

from gssl import words


def test_numbers_and_names() -> None:
    assert words.points(-0.0004) == "0.0"
    assert words.points(-0.021, sign=True) == "−2.1"
    assert words.title("simclr[ssl.temperature=0.2]") == "SimCLR (ssl.temperature=0.2)"
    assert words.title("simclr-from-efficientnet_lite0") == "SimCLR from EfficientNet-Lite0 (ImageNet)"
    assert words.title("byol") == "BYOL" and words.title("my_own") == "my_own"
    assert words.label_budget_text("1") == "1 label per class"
    assert words.listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize(
    ("key", "text"),
    [("10", "10 labels per class"), ("1", "1 label per class"), ("5i", "5 labelled images"), ("1i", "1 labelled image")]
    + [("1%", "1% of the labels"), ("all", "all labels"), ("0", "no labels")],
)
def test_label_budgets_are_written_in_words(key: str, text: str) -> None:
    assert words.label_budget_text(key) == text


def test_a_probe_is_named_with_what_it_reads() -> None:
    assert words.by_probe("linear") == "the linear probe on frozen features"
    assert words.by_probe("segment") == "a linear probe on frozen dense features"
    assert words.by_probe("finetune") == "fine-tuning"


@pytest.mark.parametrize(
    ("name", "folders", "expected"),
    [
        ("imagefolder", ["/a/photos/"], "photos"),
        ("imagefolder", [None, "b/train"], "train"),
        ("imagefolder", ["."], "imagefolder"),
        ("hf", ["x/birds", None], "birds"),
        ("cifar10", ["/data"], "cifar10"),
        ("mnist5k", [None], "mnist5k"),
    ],
)
def test_a_folder_of_ones_own_is_called_by_its_name(name: str, folders: list[str | None], expected: str) -> None:
    assert words.data_name(name, *folders) == expected


def test_percents_are_never_powers_of_ten() -> None:
    from gssl.words import percent

    shown = [percent(part, 1000) for part in range(1001)]
    assert not any("e" in text for text in shown)
    assert (shown[3], shown[33], shown[994], shown[996], shown[1000]) == ("0.3%", "3.3%", "99%", "99.6%", "100%")

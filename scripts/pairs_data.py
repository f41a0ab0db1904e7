"""Writes the tables of docs/results/pairs.md.

    python scripts/pairs_data.py captions EMOJI/captions.csv captions.csv
    python scripts/pairs_data.py emoji emoji.csv        # needs the package emoji (names from Unicode's CLDR)
    python scripts/pairs_data.py numbers numbers.csv    # needs the package num2words

captions: are these a name and the keywords of one picture? As many that are not, of the same subclass and the same part
(train, val, test) where it can be. emoji: English names and German ones, the group is what is left of an emoji without
people's sex and age. numbers: 8,000 of the numbers below 100,000 in English words and in German ones.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

Row = tuple[str, ...]
COUNT, BELOW = 8_000, 100_000
SKIN = {chr(code) for code in range(0x1F3FB, 0x1F400)}
PEOPLE = {chr(code) for code in (0x2640, 0x2642, 0xFE0F, 0x200D, *range(0x1F466, 0x1F46A), *range(0x1F9D1, 0x1F9D4))}


def captions(source: str) -> list[Row]:
    """text, text_b, label, split, group."""
    known: dict[str, dict[str, str]] = {}
    words: dict[str, set[str]] = defaultdict(set)
    with Path(source).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = Path(row["path"]).stem
            known[key] = row
            words[key].add(row["caption"])
    pictures = []
    for key in sorted(known):
        # keywords are the caption with more commas; of two without any the second one
        own = sorted(words[key], key=lambda text: (text.count(","), text))
        if len(own) == 2:
            pictures.append((*own, known[key]["split"], known[key]["group"], known[key]["subclass"]))
    rng = np.random.default_rng(0)
    found: list[Row] = []
    for name, keywords, split, group, subclass in pictures:
        found.append((name, keywords, "same", split, group))
        near = [p for p in pictures if p[2] == split and p[3] != group and p[1] != keywords]
        near = [p for p in near if p[4] == subclass] or near
        found.append((name, near[rng.integers(len(near))][1], "other", split, group))
    return found


def emoji() -> list[Row]:
    """text, text_b, group."""
    from emoji import EMOJI_DATA, config

    config.load_language("de")
    found = {}
    for sign, own in EMOJI_DATA.items():
        if not SKIN & set(sign) and "de" in own and not own.get("variant"):
            names = (own[language].strip(":").replace("_", " ") for language in ("en", "de"))
            group = "".join(c for c in sign if c not in PEOPLE) or "people"
            found[sign] = (*names, group.encode("unicode_escape").decode())
    return sorted(set(found.values()))


def numbers() -> list[Row]:
    """text, text_b."""
    from num2words import num2words

    chosen = np.sort(np.random.default_rng(0).permutation(BELOW)[:COUNT]).tolist()
    return [(num2words(n, lang="en"), num2words(n, lang="de")) for n in chosen]


def main() -> None:
    what, *source, out = sys.argv[1:]
    header = {"captions": "text,text_b,label,split,group", "emoji": "text,text_b,group", "numbers": "text,text_b"}
    makers: dict[str, Callable[..., list[Row]]] = {"captions": captions, "emoji": emoji, "numbers": numbers}
    rows = makers[what](*source)
    with Path(out).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(header[what].split(","))
        table.writerows(rows)
    print(f"{out}: {len(rows):,} pairs")


if __name__ == "__main__":
    main()

"""What differs between two plans of a comparison, a sentence each, and what a further look at its scores costs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gssl.statistics.paired import attainable, seeds_needed

Row = dict[str, Any]

AFTER = "after scores were there"
NONE_LEFT = 1e-6  # a level that is as good as none, with which quantiles stay finite


def level_of_look(seeds_at_look: Sequence[int], alpha: float = 0.05) -> float:
    """The level of the family's exact sign-flip test at the last of several looks at growing numbers of seeds.

    Nobody knows how many looks will follow, so the first look gets all of `alpha`, and each further one half of what
    the looks before it cannot have used up. What a look uses up is not its level: p is a multiple of 2 / 2ⁿ, so
    with n seeds the test errs no more often than `attainable(n, level)`. What the looks use up together never passes
    `alpha`, so false winners stay within it however many looks there are (Bonferroni; alpha spending as in Lan &
    DeMets, 1983, for a test that is exact and coarse). By pairs that are adjusted together the same holds for them all.

    Seeds 6, then 10: six use up 2/64 = .03125 of .05; ten are tested at .0094, where p up to 8/1024 = .0078 can be
    attained. Seeds 10 first: they use up .0488, and a second look is tested at .0006. Looks
    at fewer than six seeds can reject nothing and use up nothing of this; at fewer than six the intervals decide who is
    ahead, at the level given here, and for that the first look alone counts: a second one has as good as none (1e-6).

    Args: seeds_at_look: numbers of seeds, at least one each, in the order of the looks. Returns a level above 0, at
    most `alpha`; that where there was no look.
    """
    need, used, level = seeds_needed(alpha), 0.0, alpha
    for look, n in enumerate(seeds_at_look):
        level = alpha if used == 0.0 else (alpha - used) / 2
        if n < need and look:
            level = NONE_LEFT
        elif n >= need:
            used += attainable(n, level)
    return level


def changes(rows: Sequence[Row], row: Row) -> list[dict[str, str]]:
    """What `row`, a plan, says otherwise than the plan that counts, rows[0]; rows: all plans from that one on.

    An arm that a later plan brought in is held against what that one said of it. [{kind, text}]; kind: data | version |
    settings | arms_added | arms_removed | arms_order | pairs | probe | labels | metric | margin | seeds_added |
    seeds_removed. The order of the arms counts where it has changed the pairs, adding a control does not count.
    """
    base = rows[0]
    found = [*_about(base, row), *_settings(rows, row), *_arms(base, row), *_rest(base, row)]
    return [{"kind": kind, "text": text} for kind, text in found]


Found = Iterator[tuple[str, str]]


def _about(base: Row, row: Row) -> Found:
    if base["data"] != row["data"]:
        yield "data", f"The images were changed {AFTER}, the test images excepted."
    if base["gssl"] != row["gssl"]:
        yield "version", f"The first scores were of gssl {base['gssl']}, these are of {row['gssl']}."
    if base["threads"] != row["threads"]:
        yield "version", f"The first scores were made with engine.threads={base['threads']}, these {row['threads']}."


def _settings(rows: Sequence[Row], row: Row) -> Found:
    """Of all arms together, and of each arm that an earlier plan has under the same name."""
    base = rows[0]
    old, new = base["settings"], row["settings"]
    # another probe or kind of arm brings settings of its own, which is one change and is reported as one
    differ = [f"{key} {old[key]} then, {new[key]} now" for key in old if key in new and old[key] != new[key]]
    if differ:
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        yield "settings", f"Settings of all arms were changed {AFTER}: {'; '.join(differ[:5])}{more}."
    for arm in row["arms"]:
        tried = [found for plan in rows for found in plan["arms"] if found["name"] == arm["name"]]
        first = tried[0]
        if first["settings"] == arm["settings"] or arm["written"] in ("random", "pixels", "majority", "position"):
            continue
        what = [
            f"{key} {_list(first[key])} then, {_list(arm[key])} now"
            for key in ("written", "overrides", "search", "weights")
            if first[key] != arm[key]
        ]
        if not what and (differ or base["probe"] != row["probe"]):
            continue
        said = f" ({'; '.join(what)})" if what else ""
        times = len({found["settings"] for found in tried})
        often = f", in {times} ways that are on record" if times > 2 else ""
        yield "settings", f"The settings of {arm['name']} were changed {AFTER}{often}{said}."


def _arms(base: Row, row: Row) -> Found:
    old, new = ([arm["name"] for arm in plan["arms"] if arm["ranked"]] for plan in (base, row))
    if added := [name for name in new if name not in old]:
        yield "arms_added", f"{_list(added)} {_were(added)} added {AFTER}."
    if gone := [name for name in old if name not in new]:
        yield "arms_removed", f"{_list(gone)} {_were(gone)} taken out {AFTER}."
    one, two = [name for name in old if name in new], [name for name in new if name in old]
    other = _pairs(base) != _pairs(row)
    if one != two and other:
        yield (
            "arms_order",
            f"The order of the arms, by which the pairs are chosen, was changed {AFTER}: {_list(one)} then,"
            f" {_list(two)} now.",
        )
    if other:
        lost, more = _pairs(base) - _pairs(row), _pairs(row) - _pairs(base)
        words = [f"without {_list(_words(lost))}"] if lost else []
        words += [f"with {_list(_words(more))}"] if more else []
        yield "pairs", f"The pairs that carry the verdict were changed {AFTER}: now {' and '.join(words)}."


def _rest(base: Row, row: Row) -> Found:
    shown: dict[str, tuple[str, Callable[[Any], str]]] = {
        "probe": ("The probe that carries the verdict", str),
        "labels": ("The label budget that carries the verdict", str),
        "metric": ("The metric that carries the verdict", lambda value: value or "the rule's"),
        "margin": ("The smallest effect of interest", str),
    }
    for key, (name, words) in shown.items():
        if base[key] != row[key]:
            yield key, f"{name} was changed {AFTER}: {words(base[key])} then, {words(row[key])} now."
    if row["seeds"] != base["seeds"]:
        kind, verb = ("seeds_added", "added") if row["seeds"] > base["seeds"] else ("seeds_removed", "taken out")
        yield kind, f"Seeds were {verb} {AFTER}: {base['seeds']} then, {row['seeds']} now."


def _pairs(plan: Row) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in plan["pairs"]}


def _words(pairs: set[frozenset[str]]) -> list[str]:
    return sorted(" vs ".join(sorted(pair)) for pair in pairs)


def _list(values: Any) -> str:
    if isinstance(values, str):
        return values
    return ", ".join(str(value)[:40] for value in values) or "none"


def _were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"

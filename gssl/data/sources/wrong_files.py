"""What is said of files that cannot be used: those that are wrong in one way are one line, of which the first is named.

They are an error, or with data.on_error=skip left out, as long as a file is left.
"""

from collections.abc import Mapping, Sequence

from gssl.data.sources.folders import Told, some
from gssl.errors import UsageError

Wrong = Sequence[tuple[str, str]]  # a kind, and the file with what is wrong with it


def refuse_or_note(
    wrong: Wrong,
    of: int,
    kept: int,
    on_error: str,
    said: Mapping[str, tuple[str, str]],
    key: str = "data.root",
    must: Sequence[str] = (),
) -> list[str]:
    """The texts of files that are left out.

    wrong: all that are wrong of `of` files, of which `kept` are left. said: of each kind, what such files are, and what
    to do about them. must: kinds whose advice says it all. Raises UsageError for the first kind.
    """  # fmt: skip
    if wrong and (on_error == "stop" or not kept):
        kind = wrong[0][0]
        same = [text for own, text in wrong if own == kind]
        rest = f", and {len(wrong) - len(same)} are wrong in other ways" if len(same) < len(wrong) else ""
        what, advice = said[kind]
        skip = ", or leave them out with data.on_error=skip" if kept and kind not in must else ""
        raise UsageError(f"{key}: {len(same):,} of {of:,} {what}: {some(same)}{rest}; {advice}{skip}")
    return [text for _, text in wrong]


def warn(found: Wrong, of: int, said: Mapping[str, str], told: Told) -> None:
    """Warnings about files that are used: one line for each kind of `said`."""
    for kind, words in said.items():
        own = [text for known, text in found if known == kind]
        if own:
            told.warnings.append(f"data.root: {len(own):,} of {of:,} {words}; the first is {own[0]}")

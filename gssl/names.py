"""Names that do not exist: what was probably meant, and the error that says so; and names as they may be printed."""

import difflib
import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from gssl.errors import UsageError

# What acts on a terminal or changes the order of letters, and halves of characters (bytes of a name that is no UTF-8).
CONTROL = r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_unsafe = {False: re.compile(f"{CONTROL}|\n"), True: re.compile(CONTROL)}


def printable(text: str, lines: bool = False) -> str:
    r"""`text` on one line that moves no cursor and sets no colour: an escape character is shown as \x1b, and so on.

    lines: line breaks and tabs stay. Bytes of a name that are no UTF-8 are shown as \xNN.
    """
    return _unsafe[lines].sub(lambda found: found[0] if lines and found[0] == "\t" else _shown(found[0]), text)


def shown_text(value: Any) -> Any:
    """What a page shows of a value: text `printable`, and markup, numbers and the rest as they are."""
    return printable(value, lines=True) if type(value) is str else value


def _shown(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that it cannot decode
        code -= 0xDC00
    return SHORT.get(letter) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option that was probably meant: the same last part, else the most similar spelling."""
    options = list(options)
    if "." not in name:  # a slip in a name of the same level is likelier than a name from deep inside a section
        level = [o for o in options if "." not in o and o != name]
        if close := difflib.get_close_matches(name, level, 1, 0.85):
            return close[0]
    last = name.rsplit(".", 1)[-1]
    same = [o for o in options if o.rsplit(".", 1)[-1] == last and o != name]
    if found := difflib.get_close_matches(name, same, 1, 0.6 if "." in name else 0.0):
        return found[0]
    if close := difflib.get_close_matches(name, options, 1, 0.6):
        return close[0]
    ends = {o.rsplit(".", 1)[-1]: o for o in reversed(options)}
    close = difflib.get_close_matches(last, ends, 1, 0.75)
    return ends[close[0]] if close else None


def unknown(what: str, name: str, options: Iterable[str], several: bool = True) -> UsageError:
    """The error for a name that is none of `options`; `several` lists them where nothing is near."""
    options = sorted(options)
    near = nearest(name, options)
    tail = f"; did you mean '{near}'?" if near else ""
    if several and options:
        tail += f" ({', '.join(options)})" if near else f"; there is: {', '.join(options)}"
    return UsageError(f"{what} '{name}'{tail}")


def no_key(key: str, known: Iterable[str]) -> UsageError:
    """The error for a key that does not exist: the nearest one, else what there is beside it."""
    known = list(known)
    if near := nearest(key, known):
        return UsageError(f"no key '{key}'; did you mean '{near}'?")
    section = key
    while "." in section:
        section = section.rpartition(".")[0]
        names = sorted({k[len(section) + 1 :].split(".")[0] for k in known if k.startswith(f"{section}.")})
        if names:
            return UsageError(f"no key '{key}'; {section} has {', '.join(names)}")
    return UsageError(f"no key '{key}'; there is: {', '.join(sorted({k.split('.')[0] for k in known}))}")


def unique(key: str, values: list[Any]) -> None:
    """Raises UsageError where a value stands in a list twice."""
    twice = sorted({v for v in values if values.count(v) > 1})
    if twice:
        raise UsageError(f"{key}: {twice[0]} stands there twice")


def load(where: str) -> Any:
    """The object at `module:name`, imported now. Raises LookupError where a dict of names says what is not there."""
    module, name = where.split(":")
    missing = LookupError(f"{where} does not exist")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise missing if error.name == module else error from error
    if not hasattr(found, name):
        raise missing
    return getattr(found, name)

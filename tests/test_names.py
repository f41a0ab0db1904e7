"""Names as they may be printed."""

import sys
import unicodedata

from gssl.names import printable, shown_text

EVERY = [chr(code) for code in range(sys.maxunicode + 1)]
ORDER = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"  # letters that turn text around


def test_nothing_that_acts_on_a_terminal_is_left_and_letters_stay() -> None:
    shown = printable("".join(EVERY))
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set(ORDER)
    shown.encode()
    letters = "".join(x for x in EVERY if unicodedata.category(x)[0] in "LNPSM" or x == " ")
    assert printable(letters) == letters


def test_what_is_shown_in_place_of_controls() -> None:
    assert printable("a\x1b[31mb\nc\td\r\x07") == r"a\x1b[31mb\nc\td\r\x07"
    assert printable("a\nb\tc\x1b", lines=True) == "a\nb\tc\\x1b"
    assert printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == r"caf\xe9"
    assert printable("\u202egnp.exe") == r"\u202egnp.exe"


def test_pages_show_text_escaped_and_leave_markup_alone() -> None:
    markup = type("Markup", (str,), {})("<svg>\x1b</svg>")
    assert shown_text("a\x1b[1m\u202eb\nc") == "a\\x1b[1m\\u202eb\nc"
    assert shown_text(markup) is markup
    assert shown_text(3) == 3

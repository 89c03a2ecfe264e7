"""Text as the built-in scorer reads it: plain words, whatever they are dressed up as.

Compatibility forms, zero-width characters, accents, look-alike letters, digits and signs for letters, letters
drawn out and letters s p a c e d apart all come out as the plain word. Source: Unicode TR 15 and TR 39.

    words("Fine, p.y.t.h.o.n and s3rvérs")      # ["fine", "python", "and", "servers"]
"""

import re
import unicodedata
from typing import Final

LONGEST_WORD: Final = 24
"""Longer words are cut: what is longer is no word."""

NUMBER: Final = "#"

_TOKEN: Final = re.compile(r"[\w@$!*+'’]+")  # noqa: RUF001 - the apostrophe that typographers use
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)
_APART: Final = 3
_DRAWN_OUT: Final = re.compile(r"(.)\1{2,}|(\*)\*+")
_SIGNS: Final = str.maketrans("013457@$!+", "oieastasit", "'’")  # noqa: RUF001
_LOOKALIKES: Final = str.maketrans(
    {
        **dict(zip("авекмнорстухѕіјһԁԛԝ", "abekmhopctyxsijhdqw", strict=True)),
        **dict(zip("αβεικνορτυχγω", "abeikvoptuxyw", strict=True)),
        **dict(zip("ɑɡıɩłøđɴʀꜱʏʟ", "agiilodnrsyl", strict=True)),
    }
)


def words(text: str) -> list[str]:
    """The words of `text` in order, in plain lower case letters; a number is "#"."""
    plain = (plain_word(token) for token in tokens(text))
    return [word for word in plain if word]


def tokens(text: str) -> list[str]:
    """`text` cut up, in lower case; letters that stand apart are put together."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    found = _TOKEN.findall(text.lower().replace("_", " "))
    joined: list[str] = []
    run = 0
    for token in found:
        if len(token) == 1:
            run += 1
        elif run:
            if run >= _APART:
                joined[-run:] = ["".join(joined[-run:])]
            run = 0
        joined.append(token)
    if run >= _APART:
        joined[-run:] = ["".join(joined[-run:])]
    return joined


def plain_word(token: str) -> str:
    """One of `tokens` as a plain word; "" when nothing is left of it."""
    word = token
    if not word.isascii():
        word = unicodedata.normalize("NFKD", word.translate(_LOOKALIKES))
        word = "".join(letter for letter in word if not unicodedata.combining(letter))
    if not word.isalpha():
        word = _without_signs(word)
    if len(word) > 2:
        word = _DRAWN_OUT.sub(r"\1\2", word)
    return word[:LONGEST_WORD]


def _without_signs(word: str) -> str:
    """A word of letters, digits and signs: a star inside it, or at its end, hides letters and stays."""
    starred = word.startswith("*")
    word = word.lstrip("*'’!+").rstrip("'’!+")  # noqa: RUF001
    if starred:
        word = word.rstrip("*")
    if word[:1] == "$" and word[1:].isalnum():
        word = word[1:]  # a variable, in many languages; or a price
    if not any(letter.isalpha() for letter in word):
        return NUMBER if any(letter.isdigit() for letter in word) else ""
    return word.translate(_SIGNS)

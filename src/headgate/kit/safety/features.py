"""What a linear scorer sees of a text: hashed features of its words, in windows of 24 words.

The features of a word are itself (`w:kill`), its groups of four letters with its ends marked (`c:^kil`) and its
class in the lexicon (`t:HURT`); of two neighbours, the pair, with classes in place of words that have one
(`b:HURT the`); of words with classes at most four apart, the classes of two (`p:HURT>TECH`) and of three
(`q:YOU>HURT>TECH`). A feature's number is CRC-32 of its name in UTF-8, modulo the number of buckets. A block is
12 words and counts each word once; a window is two blocks that follow each other, so every 12 words in a row are
seen whole. The score of a text is the highest of its windows.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

from headgate.kit.safety.words import words

BUCKETS: Final = 1 << 20
"""So many that a word nobody trained on rarely shares the number of one that was."""

BLOCK: Final = 12
REACH: Final = 4

_LEXICON: Final = Path(__file__).parent / "corpus" / "lexicon.json"
_SUFFIXES: Final = ("s", "es", "ed", "d", "ing", "er", "ers", "in")


def number_of(feature: str) -> int:
    """The bucket of a feature."""
    return zlib.crc32(feature.encode("utf-8", "surrogatepass")) % BUCKETS


@cache
def lexicon() -> Mapping[str, str]:
    """The class of each word that has one."""
    classes: dict[str, str] = json.loads(_LEXICON.read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for name, members in classes.items():
        for word in members.split():
            found.setdefault(word, name)
    return found


def class_of(word: str) -> str:
    """The class of a word or of what it is a form of; "" when it has none."""
    known = lexicon()
    if word in known:
        return known[word]
    for suffix in _SUFFIXES:
        stem = word.removesuffix(suffix)
        if len(stem) < 3 or stem == word:
            continue
        for form in (stem, stem + "e", stem[:-1] if stem[-1] == stem[-2] else stem):
            if form in known:
                return known[form]
    return ""


def word_features(word: str, own: str) -> Iterable[str]:
    """The features of one word of class `own` by itself."""
    found = [f"w:{word}", f"t:{own}"] if own else [f"w:{word}"]
    if len(word) > 3:
        marked = f"^{word}$"
        # A dictionary keeps each once, and their order: a set's differs from run to run.
        found.extend({f"c:{marked[at : at + 4]}": None for at in range(len(marked) - 3)})
    return found


def blocks(text: str) -> list[list[str]]:
    """The features of each block of `text`, repeated as often as they occur."""
    found: list[list[str]] = []
    seen: set[str] = set()
    before, older, tagged, tagged_at = "", "", "", -REACH - 1
    for at, word in enumerate(words(text)):
        if at % BLOCK == 0:
            found.append([])
            seen = set()
        own = class_of(word)
        if word not in seen:
            seen.add(word)
            found[-1].extend(word_features(word, own))
        if before:
            found[-1].append(f"b:{before} {own or word}")
        if own:
            if at - tagged_at <= REACH:
                found[-1].append(f"p:{tagged}>{own}")
                if older:
                    found[-1].append(f"q:{older}>{tagged}>{own}")
                older = tagged
            else:
                older = ""
            tagged, tagged_at = own, at
        before = own or word
    return found


def named_windows(text: str) -> list[list[str]]:
    """The features of each window of `text`; none for a text without words."""
    each = blocks(text)
    return each if len(each) < 2 else [first + second for first, second in pairwise(each)]


def windows(text: str) -> list[list[int]]:
    """The feature numbers of each window."""
    return [[number_of(feature) for feature in window] for window in named_windows(text)]

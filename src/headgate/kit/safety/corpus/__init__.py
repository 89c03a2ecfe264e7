"""The labelled texts the built-in scorer is trained on and measured by, written for it.

`unwanted.jsonl`, `harmless.jsonl` and `prose.jsonl` (paragraphs and code, harmless) hold a text and its labels in
each line. One text in four, chosen by its CRC-32, is held out: nothing is trained on it, and the published
figures come from it. It is a filter's corpus, so it holds the words a filter must know.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parent
HELD_OUT: Final = 4


@dataclass(frozen=True, slots=True)
class Example:
    """A text and the categories it belongs to; none for a harmless one."""

    text: str
    labels: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Whether it is for measuring only."""
        return zlib.crc32(self.text.encode("utf-8")) % HELD_OUT == 0


def read(files: Iterable[Path] | None = None) -> list[Example]:
    """The examples of these JSON Lines files, of the corpus unless given."""
    return [
        example for file in (sorted(DIRECTORY.glob("*.jsonl")) if files is None else files) for example in _of(file)
    ]


def _of(file: Path) -> Iterator[Example]:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line:
            document = json.loads(line)
            yield Example(document["text"], tuple(document["labels"]))

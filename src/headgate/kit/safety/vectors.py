"""The features of `headgate.kit.safety.features` as dense vectors, for models that want them so.

A vector of `size` numbers counts the features of one window, each in the place that its number is modulo `size`.
Scores are the highest over the windows. Needs numpy (extra `safety`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.safety.features import windows


def vectors(text: str, size: int) -> Iterator[Any]:
    """A float32 array of `size` for each window of `text`, made as it is asked for: each may be large."""
    import numpy as np

    for numbers in windows(text):
        vector = np.zeros(size, dtype=np.float32)
        np.add.at(vector, np.asarray(numbers, dtype=np.int64) % size, 1.0)
        yield vector


def worst(labels: Sequence[str], rows: Sequence[Sequence[float]]) -> dict[str, float]:
    """The highest value of each column."""
    return {label: max((float(row[at]) for row in rows), default=0.0) for at, label in enumerate(labels)}


def labels_from(labels: Path | Sequence[str]) -> tuple[str, ...]:
    """The categories of a model's outputs: given, or one on each line of a file.

    Raises InvalidArgument (`invalid_safety_model`).
    """
    if isinstance(labels, Path):
        try:
            labels = labels.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise invalid_model(f"its labels cannot be read: {type(error).__name__}") from error
    if not labels or len(set(labels)) < len(labels):
        raise invalid_model("it needs labels, each once")
    return tuple(labels)


def checked(labels: Sequence[str], count: int) -> None:
    """Raise InvalidArgument unless there are `count` labels."""
    if len(labels) != count:
        raise invalid_model(f"it has {count} outputs and {len(labels)} labels")


def invalid_model(reason: str) -> InvalidArgument:
    """The fault for a model that cannot be used."""
    return InvalidArgument(f"the content model cannot be used: {reason}", code="invalid_safety_model")

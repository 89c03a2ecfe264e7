"""How a refused document is told apart: the place of the trouble and words of the message."""

from typing import Any

import pytest
from pydantic import ValidationError

from headgate.controlplane.model.base import Spec


def refused(model: type[Spec], document: dict[str, Any]) -> list[tuple[str, str]]:
    """The (dotted place, message) of everything wrong with a document; fails when nothing is."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


def one_refusal(model: type[Spec], document: dict[str, Any], place: str, words: str) -> None:
    """Fail unless the document is refused exactly there, with those words."""
    ((found, message),) = refused(model, document)
    assert found == place
    assert words in message

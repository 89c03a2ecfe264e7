"""Perspective as a scorer, for those who have a key: **the service ends on 31 December 2026**.

New keys have not been issued since February 2026. This adapter is for the time left; move to another scorer. It warns
when it is made, and is never a default.

    scorer = PerspectiveScorer(key=key, attributes=["TOXICITY", "THREAT"])

Categories are the attributes in lower case. Texts are sent with `doNotStore`. Source: Perspective API
reference, method comments.analyze, v1alpha1.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.safety.remote import Remote, by_parts, number

if TYPE_CHECKING:
    import httpx

BASE_URL: Final = "https://commentanalyzer.googleapis.com"
ENDS: Final = "2026-12-31"
ATTRIBUTES: Final = ("TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT")

_LONGEST: Final = 5_000
"""Characters: the service takes 20,480 bytes, of which a character may need four."""


class PerspectiveScorer:
    """Asks Perspective for `attributes`, in `languages` (ISO codes; the service guesses when none is given)."""

    name: Final = "perspective"

    def __init__(
        self,
        *,
        key: str,
        attributes: Sequence[str] = ATTRIBUTES,
        languages: Sequence[str] = (),
        base_url: str = BASE_URL,
        timeout: float = 5.0,
        client: "httpx.AsyncClient | None" = None,
    ) -> None:
        if not key or not attributes:
            raise InvalidArgument("Perspective needs a key and an attribute", code="invalid_content_gate")
        warnings.warn(f"Perspective ends on {ENDS}: choose another content scorer before", FutureWarning, stacklevel=2)
        self._key = key
        self._attributes = tuple(attributes)
        self._languages = list(languages)
        url = f"{base_url.rstrip('/')}/v1alpha1/comments:analyze"
        self._remote = Remote(self.name, url, timeout=timeout, client=client)

    async def score(self, text: str) -> Mapping[str, float]:
        """The probability of each attribute. Raises Unavailable (`scorer_failed`)."""
        return await by_parts(text, _LONGEST, self._score)

    async def _score(self, text: str) -> Mapping[str, float]:
        body: dict[str, Any] = {
            "comment": {"text": text, "type": "PLAIN_TEXT"},
            "requestedAttributes": {attribute: {} for attribute in self._attributes},
            "doNotStore": True,
        }
        if self._languages:
            body["languages"] = self._languages
        # In a header: the key in the address, as the examples have it, ends up in logs.
        document = await self._remote.post(body, {"x-goog-api-key": self._key})
        answers = document.get("attributeScores")
        found = {}
        for attribute in self._attributes:
            value = number(_summary(answers, attribute))
            if value is None:
                raise self._remote.failed(f"no score for {attribute}")
            found[attribute.lower()] = value
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        await self._remote.aclose()


def _summary(answers: Any, attribute: str) -> Any:
    value = answers
    for name in (attribute, "summaryScore", "value"):
        value = value.get(name) if isinstance(value, dict) else None
    return value

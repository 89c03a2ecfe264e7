"""Any OpenAI-compatible moderation endpoint as a scorer: `POST {base_url}/moderations`.

    scorer = ModerationScorer("https://api.openai.com/v1", key=key, model="omni-moderation-latest")

Categories are those of the endpoint in lower case with underscores (`harassment_threatening`, `self_harm`). One that
gives categories without scores counts as sure of them. Source: OpenAI API reference, create moderation.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.safety.remote import Remote, by_parts, number

if TYPE_CHECKING:
    import httpx

_NOT_WORD: Final = re.compile(r"[^a-z0-9]+")


class ModerationScorer:
    """Asks the endpoint below `base_url`, with `key` as bearer token when there is one.

    `model` is sent when given; `longest` is the most characters of a request.
    """

    name: Final = "moderation"

    def __init__(
        self,
        base_url: str,
        *,
        key: str = "",
        model: str = "",
        timeout: float = 5.0,
        longest: int = 10_000,
        client: "httpx.AsyncClient | None" = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise InvalidArgument("a moderation endpoint has an http(s) address", code="invalid_content_gate")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._model = {"model": model} if model else {}
        self._longest = longest
        self._remote = Remote(self.name, f"{base_url.rstrip('/')}/moderations", timeout=timeout, client=client)

    async def score(self, text: str) -> Mapping[str, float]:
        """The probability of each category. Raises Unavailable (`scorer_failed`)."""
        return await by_parts(text, self._longest, self._score)

    async def _score(self, text: str) -> Mapping[str, float]:
        document = await self._remote.post({**self._model, "input": text}, self._headers)
        results = document.get("results")
        if not isinstance(results, list) or not results:
            raise self._remote.failed("no results")
        highest: dict[str, float] = {}
        for result in results:
            for category, value in self._of(result).items():
                highest[category] = max(value, highest.get(category, 0.0))
        return highest

    def _of(self, result: Any) -> dict[str, float]:
        """The scores of one result; flags where there are no scores."""
        if not isinstance(result, dict):
            raise self._remote.failed("a result that is no object")
        scores, flags = result.get("category_scores"), result.get("categories")
        found: dict[str, float] = {}
        for given in (flags, scores):
            for category, value in (given if isinstance(given, dict) else {}).items():
                probability = float(value) if isinstance(value, bool) else number(value)
                if probability is not None:
                    found[_NOT_WORD.sub("_", category.lower()).strip("_")] = probability
        if not found and not isinstance(result.get("flagged"), bool):
            raise self._remote.failed("a result without categories")
        return found or {"flagged": float(result["flagged"])}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._remote.aclose()

"""Google Checks AI Safety as a scorer: `checks.googleapis.com/v1alpha/aisafety:classifyContent`.

    scorer = ChecksScorer("my-project", token=fresh_token, policies={"HARASSMENT": 0.6, "HATE_SPEECH": None})

The service is a private preview: the project must be admitted, and the token have the scope
`https://www.googleapis.com/auth/checks`. It judges each policy by a threshold of its own (0.5 unless given), and
its verdict is what counts: a violated policy has probability 1, another 0. With `verdicts=False` its scores do,
by the thresholds of the gate. Categories are the policies in lower case.

Source: Checks API reference, method aisafety.classifyContent, v1alpha.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.safety.remote import Remote, Token, by_parts, number, token_of

if TYPE_CHECKING:
    import httpx

BASE_URL: Final = "https://checks.googleapis.com"
POLICIES: Final = (
    "DANGEROUS_CONTENT",
    "PII_SOLICITING_RECITING",
    "HARASSMENT",
    "SEXUALLY_EXPLICIT",
    "HATE_SPEECH",
    "MEDICAL_INFO",
    "VIOLENCE_AND_GORE",
    "OBSCENITY_AND_PROFANITY",
)

_VIOLATIVE: Final = {"VIOLATIVE": 1.0, "NON_VIOLATIVE": 0.0}


class ChecksScorer:
    """Asks Google Checks, on the account of `project`.

    `policies` are names, or names with the threshold the service shall use (None for its own); all eight unless
    given. `token` gives an OAuth 2.0 access token. `longest` is the most characters of a request.
    """

    name: Final = "checks"

    def __init__(
        self,
        project: str,
        *,
        token: Token,
        policies: Mapping[str, float | None] | Sequence[str] = POLICIES,
        verdicts: bool = True,
        base_url: str = BASE_URL,
        timeout: float = 5.0,
        longest: int = 10_000,
        client: "httpx.AsyncClient | None" = None,
    ) -> None:
        chosen = dict(policies) if isinstance(policies, Mapping) else dict.fromkeys(policies)
        _validate(project, chosen)
        self._project = project
        self._token = token
        self._policies = [
            {"policy_type": policy} | ({} if threshold is None else {"threshold": threshold})
            for policy, threshold in chosen.items()
        ]
        self._wanted = frozenset(chosen)
        self._verdicts = verdicts
        self._longest = longest
        url = f"{base_url.rstrip('/')}/v1alpha/aisafety:classifyContent"
        self._remote = Remote(self.name, url, timeout=timeout, client=client)

    async def score(self, text: str) -> Mapping[str, float]:
        """The probability of each policy. Raises Unavailable (`scorer_failed`)."""
        return await by_parts(text, self._longest, self._score)

    async def _score(self, text: str) -> Mapping[str, float]:
        document = await self._remote.post(
            {"input": {"text_input": {"content": text}}, "policies": self._policies},
            {"authorization": f"Bearer {await token_of(self._token)}", "x-goog-user-project": self._project},
        )
        results = document.get("policyResults")
        found: dict[str, float] = {}
        for result in results if isinstance(results, list) else ():
            policy = result.get("policyType") if isinstance(result, dict) else None
            if policy in self._wanted:
                found[policy.lower()] = self._probability(policy, result)
        if missing := [policy for policy in self._wanted if policy.lower() not in found]:
            raise self._remote.failed(f"no result for {', '.join(sorted(missing))}")
        return found

    def _probability(self, policy: str, result: Mapping[str, Any]) -> float:
        verdict = _VIOLATIVE.get(str(result.get("violationResult")))
        if verdict is None:
            raise self._remote.failed(f"no verdict on {policy}")
        score = number(result.get("score"))
        return verdict if self._verdicts or score is None else score

    async def aclose(self) -> None:
        """Close the connections."""
        await self._remote.aclose()


def _validate(project: str, policies: Mapping[str, float | None]) -> None:
    wrong = ""
    if not project:
        wrong = "it needs the project that pays"
    elif not policies:
        wrong = "it needs a policy"
    elif unknown := [policy for policy in policies if policy not in POLICIES]:
        wrong = f"no such policy: {', '.join(unknown)}; there are {', '.join(POLICIES)}"
    elif any(threshold is not None and not 0.0 <= threshold <= 1.0 for threshold in policies.values()):
        wrong = "thresholds are from 0 to 1"
    if wrong:
        raise InvalidArgument(f"Google Checks is misconfigured: {wrong}", code="invalid_content_gate")

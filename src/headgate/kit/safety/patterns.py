"""Personal data and secrets, found by their form: no model, no false memory, and no context either.

`pii`: e-mail addresses, payment cards (Luhn), IBANs (mod 97), US social security numbers, telephone numbers with a
country code. `secret`: private keys, bearer tokens, JSON Web Tokens and the keys that well-known services issue.
What is found has probability 1. Sources: ISO/IEC 7812-1, ISO 13616, RFC 7519.

    scores = await PatternScorer().score("mail ann@example.com")        # {"pii": 1.0, "secret": 0.0}
"""

import re
from collections.abc import Mapping
from typing import Final

PII: Final = "pii"
SECRET: Final = "secret"  # noqa: S105 - the name of a category

_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b[Bb]earer\s+[A-Za-z0-9._~+/-]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{8,512}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
    r"|\b(?:sk|pk|rk)[-_](?:live|test|proj|ant)?[-_]?[A-Za-z0-9_-]{20,}"
    r"|\bAIza[A-Za-z0-9_-]{35}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36}"
    r"|\bgithub_pat_[A-Za-z0-9_]{22,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bhg_[A-Za-z0-9_-]{20,}"
)
_EMAIL: Final = re.compile(r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_CARD: Final = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]?\d)")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN: Final = re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b")
_PHONE: Final = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[ .()-]{0,2}\d){7,12}(?!\d)")


class PatternScorer:
    """Finds personal data and secrets. `pii` and `secret` say which of the two it looks for."""

    name: Final = "patterns"

    def __init__(self, *, pii: bool = True, secret: bool = True) -> None:
        self._pii = pii
        self._secret = secret

    async def score(self, text: str) -> Mapping[str, float]:
        """1 for each category that is there, else 0."""
        scores: dict[str, float] = {}
        if self._pii:
            scores[PII] = float(_has_pii(text))
        if self._secret:
            scores[SECRET] = float(_SECRETS.search(text) is not None)
        return scores


def _has_pii(text: str) -> bool:
    return bool(
        ("@" in text and _EMAIL.search(text))
        or _SSN.search(text)
        or ("+" in text and _PHONE.search(text))
        or any(_luhn(found.group()) for found in _CARD.finditer(text))
        or any(_mod_97(found.group()) for found in _IBAN.finditer(text))
    )


def _luhn(number: str) -> bool:
    digits = [int(character) for character in number if character.isdigit()]
    if len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _mod_97(account: str) -> bool:
    plain = account.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1

"""What must never be shown: secrets in names, in values and inside texts.

`redact` walks any value and returns one that may be logged; `redact_text` cleans one string. Both are
total (they never raise), idempotent, and take time in proportion to their input, whoever wrote it. A name
is what marks a secret (`authorization`, `api_key`, `private_key_pem`); a name which ends in a word such as
`_id` or `_file` only talks about one. A service adds names and patterns of its own:

    mask = Redactor(names=["pin"], patterns=[r"ACME-[0-9]{12}"])
    mask.value({"pin": 1234, "note": "ACME-000011112222"})    # {"pin": "***", "note": "***"}
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

MASK: Final = "***"

SECRET_WORDS: Final = (
    "authorization",
    "token",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "credential",
    "cookie",
    "privatekey",
    "apikey",
    "accesskey",
    "accountkey",
    "signingkey",
    "encryptionkey",
    "ciphertext",
)
_ABOUT: Final = re.compile(
    r"(?:^|[_-])(?:id|ids|name|names|file|path|kind|type|count|total|fingerprint|summary)$", re.IGNORECASE
)
_NOT_LETTERS: Final = re.compile(r"[^a-z0-9]")
_DEEPEST: Final = 12
_MOST_NODES: Final = 20_000
_SHORTEST: Final = 7
_MOST_PASSES: Final = 8
_REMEMBERED: Final = 4_096
_LONGEST_REMEMBERED: Final = 128
_REMEMBERED_TEXTS: Final = 1_024
_LONGEST_SHOWN: Final = 4_096

# All quantifiers which another could give back to are possessive, or bounded: that keeps every search linear.
_FLAGS: Final = re.ASCII | re.IGNORECASE
_PEM: Final = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(?!\*\*\*).*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_SCHEME: Final = re.compile(r"\b(bearer|basic|digest)(?:\s|%20)++(?!\*\*\*)[^\s,;\"']++", _FLAGS)
_COOKIES: Final = re.compile(r"\b((?:set-)?cookie)\s*+:\s*+(?!\*\*\*)[^\r\n\"']++", _FLAGS)
_HEADER: Final = re.compile(
    r"\b((?:proxy-)?authorization|x-api-key)\s*+:\s*+(?!\*\*\*)"
    r"(?:(?:token|api-?key|key|oauth|dpop|hawk|negotiate|ntlm)(?:\s|%20)++(?!\*\*\*)[^\s,;\"']++|[^\s,;\"']{8,}+)",
    _FLAGS,
)
_USERINFO: Final = re.compile(r"://(?:([^\s/@:]*+):[^\s/@]*+(?:@[^\s/@]*+)*(?=@)|[^\s/@:]{16,}+(?=@))")
_TOKENS: Final = re.compile(
    r"""eyJ[\w-]{10,}+(?:\.[\w-]++){0,2}+
    | AIza[\w-]{30,}+ | A[KS]IA[A-Z0-9]{16,}+ | gh[pousr]_[A-Za-z0-9]{20,}+ | github_pat_\w{20,}+
    | glpat-[\w-]{16,}+ | xox[abeprs]-[A-Za-z0-9-]{10,}+ | ya29\.[\w-]{16,}+ | pypi-[\w-]{20,}+
    | (?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}))
      (?: sk-[\w-]{16,}+ | [sr]k_(?:live|test)_[A-Za-z0-9]{10,}+ | whsec_[\w+/=]{16,}+
        | h[fg]_[\w-]{20,}+ | (?:npm|gsk|r8)_[A-Za-z0-9]{20,}+ | (?:xai|nvapi)-[\w-]{20,}+ | hvs\.[\w-]{16,}+ )""",
    re.ASCII | re.VERBOSE,
)
_ASSIGNMENT: Final = re.compile(
    r"((?:password|passwd|passphrase|token|secret|credential|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|private[_-]?key|signature|pwd|(?<=[?&])(?:key|sig))\s*+=\s*+)(?!\*\*\*)(?:\"[^\"]*+\"?+|'[^']*+'?+|[^\s&;,\"']++)",
    _FLAGS,
)
# What a dictionary and a pair look like once they are text: in JSON, in a repr, in JSON inside of JSON.
_VALUE: Final = r"b?+\\*+(?:\"(?:[^\"\\]|\\.)*+\"?+|'(?:[^'\\]|\\.)*+'?+"
_QUOTED: Final = re.compile(
    rf"(?P<name>[\"'][\w.-]{{1,64}}+)(?P<between>\\*+[\"']\s*+:\s*+){_VALUE}|[^\s,}}\])\"']++)", re.ASCII | re.DOTALL
)
_PAIR: Final = re.compile(
    rf"(?P<name>[(\[]b?+[\"'][\w.-]{{1,64}}+)(?P<between>[\"'],\s*+){_VALUE})", re.ASCII | re.DOTALL
)


def _sub(pattern: re.Pattern[str], replacement: str) -> Callable[[str], str]:
    return lambda text: pattern.sub(replacement, text)


_Rule = tuple[str, tuple[str, ...], Callable[[str], str]]
_RULES: Final[tuple[_Rule, ...]] = (
    # What a text must contain, one of which it must also contain in lower case, and what then masks it.
    ("-----", ("-----begin ",), _sub(_PEM, rf"\1{MASK}")),
    ("", ("bearer", "basic", "digest"), _sub(_SCHEME, rf"\1 {MASK}")),
    ("", ("eyj", "aiza", "akia", "asia"), _sub(_TOKENS, MASK)),
    (".", ("ya29.", "hvs."), _sub(_TOKENS, MASK)),
    ("-", ("sk-", "glpat-", "xox", "pypi-", "xai-", "nvapi-"), _sub(_TOKENS, MASK)),
    (
        "_",
        (
            "hg_",
            "ghp_",
            "gho_",
            "ghu_",
            "ghs_",
            "ghr_",
            "github_pat_",
            "sk_",
            "rk_",
            "whsec_",
            "hf_",
            "npm_",
            "gsk_",
            "r8_",
        ),
        _sub(_TOKENS, MASK),
    ),
    ("://", ("@",), lambda text: _USERINFO.sub(_userinfo, text)),
    (":", ("cookie", "authorization", "x-api-key"), lambda text: _HEADER.sub(_header, _COOKIES.sub(_header, text))),
    (
        "=",
        ("password", "passwd", "passphrase", "token", "secret", "credential", "key", "signature", "pwd", "sig="),
        _sub(_ASSIGNMENT, rf"\1{MASK}"),
    ),
)
_NAME_HINTS: Final = ("authorization", "token", "pass", "pwd", "secret", "credential", "cookie", "key", "ciphertext")


def _userinfo(match: re.Match[str]) -> str:
    user = match.group(1)
    return f"://{MASK}" if user is None else f"://{user}:{MASK}"


def _header(match: re.Match[str]) -> str:
    return f"{match.group(1)}: {MASK}"


class Redactor:
    """Masks what looks secret. `names` add to the built-in ones, `patterns` (regular expressions) to the values.

    Names are compared by their letters and digits, in any case. Raises ValueError for a pattern that does not
    compile, or that would match the mask. How long a pattern of one's own takes is one's own care.
    """

    def __init__(self, names: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._own_names = frozenset(_NOT_LETTERS.sub("", name.lower()) for name in names) - {""}
        self._own_hints = tuple(sorted(self._own_names))
        self._own_patterns = tuple(_own(pattern) for pattern in patterns)
        self._known = lru_cache(_REMEMBERED)(self._judge)

    def is_secret_name(self, name: str) -> bool:
        """Whether a value under this name (a header, a key, a setting) must not be shown."""
        return self._known(name)[1] if len(name) <= _LONGEST_REMEMBERED else self._judge(name)[1]

    def text(self, text: str) -> str:
        """`text` with credentials, private keys and passwords in URLs masked."""
        for _ in range(_MOST_PASSES):
            masked = self._pass(text)
            if masked == text:
                break
            # Where a secret was masked, what stood next to it may begin to look like one.
            text = masked
        return text

    def value(self, value: Any) -> Any:
        """A copy of `value` made of JSON types in which everything that looks secret is masked.

        Pairs such as `("authorization", "Bearer x")` count as name and value. Objects of other types become
        their `repr`, masked. What is nested deeper than 12 levels, cycles included, becomes "...", and so does
        all that comes after 20,000 containers and objects.
        """
        try:
            return self._redact(value, 0, [_MOST_NODES])
        except Exception:  # noqa: BLE001 - a broken object must not break the log line that shows it
            return f"<{type(value).__name__}>"

    def _pass(self, text: str) -> str:
        if len(text) >= _SHORTEST:
            lowered = text.lower()
            for needed, markers, apply in _RULES:
                if needed in lowered:
                    for marker in markers:
                        if marker in lowered:
                            text = apply(text)
                            break
            if '"' in text or "'" in text:
                text = self._named_in_text(text, lowered)
        for pattern in self._own_patterns:
            text = pattern.sub(_whole, text)
        return text

    def _judge(self, name: str) -> tuple[str, bool]:
        """How a name is shown, and whether its value is secret."""
        plain = _NOT_LETTERS.sub("", name.lower())
        secret = plain in self._own_names or (
            not _ABOUT.search(name[-16:]) and any(word in plain for word in SECRET_WORDS)
        )
        return self.text(name), secret

    def _named_in_text(self, text: str, lowered: str) -> str:
        hints = any(hint in lowered for hint in _NAME_HINTS)
        if not hints and not (self._own_names and any(hint in lowered for hint in self._own_hints)):
            return text
        return _PAIR.sub(self._mask_named, _QUOTED.sub(self._mask_named, text))

    def _mask_named(self, match: re.Match[str]) -> str:
        name, between = match.group("name", "between")
        if not self.is_secret_name(name.lstrip("([b").lstrip("\"'") if name[0] in "([" else name[1:]):
            return match.group()
        quote = between.lstrip("\\")[0]
        return f"{name}{between}{quote}{MASK}{quote}"

    def _redact(self, value: Any, depth: int, left: list[int]) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        left[0] -= 1
        if depth >= _DEEPEST or left[0] < 0:
            return "..."
        if isinstance(value, Mapping):
            return dict(self._named(key, item, depth, left) for key, item in value.items())
        if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str | bytes):
            return list(self._named(value[0], value[1], depth, left))
        if isinstance(value, list | tuple | set | frozenset):
            return [self._redact(item, depth + 1, left) for item in value]
        return self.text(_text(value))

    def _named(self, key: Any, value: Any, depth: int, left: list[int]) -> tuple[str, Any]:
        name = _text(key)
        shown, secret = self._known(name) if len(name) <= _LONGEST_REMEMBERED else self._judge(name)
        if not secret or value is None or (isinstance(value, str | bytes) and not value):
            return shown, self._redact(value, depth + 1, left)
        # How many tokens a model read is a figure.
        figure = isinstance(value, int | float) and name.lower().endswith("tokens")
        return shown, value if figure else MASK


def remembering(mask: Callable[[str], str]) -> Callable[[str], str]:
    """`mask` for texts that come again and again: remembers the last 1,024 short ones, and cuts off after 4,096."""
    remembered = lru_cache(_REMEMBERED_TEXTS)(mask)

    def shown(text: str) -> str:
        return remembered(text) if len(text) <= _LONGEST_REMEMBERED else mask(text)[:_LONGEST_SHOWN]

    return shown


def _own(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if compiled.search(MASK):
        raise ValueError(f"{pattern!r} matches the mask {MASK!r} itself")
    return compiled


def _whole(match: re.Match[str]) -> str:
    return MASK if match.group() else ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a broken repr must not break the log line that shows it
        return f"<{type(value).__name__}>"


_DEFAULT: Final = Redactor()
is_secret_name: Final = _DEFAULT.is_secret_name
redact_text: Final = _DEFAULT.text
redact: Final = _DEFAULT.value

"""What a path template means, said in the plainest way, to hold the real forms against."""

import re
import string

SEGMENT_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._~%!$&'()*+,;=:@")


def bindings(template: str, path: str) -> dict[str, str] | None:
    """What the variables stand for when the template matches the path; None when it does not."""
    return _bind(re.split(r"(\{[^{}]*\})", template), path)


def _bind(parts: list[str], path: str) -> dict[str, str] | None:
    if not parts:
        return {} if path == "" else None
    first, rest = parts[0], parts[1:]
    if not first.startswith("{"):
        return _bind(rest, path[len(first) :]) if path.startswith(first) else None
    name, _, glob = first[1:-1].partition("=")
    allowed = SEGMENT_CHARACTERS | {"/"} if glob == "**" else SEGMENT_CHARACTERS
    longest = next((i for i, character in enumerate(path) if character not in allowed), len(path))
    for length in range(longest, -1 if glob == "**" else 0, -1):
        others = _bind(rest, path[length:])
        if others is not None:
            return {name: path[:length], **others}
    return None


def rewritten(template: str, replacement: str, path: str) -> str:
    """The new path, for a path the template matches."""
    bound = bindings(template, path)
    assert bound is not None
    return re.sub(r"\{([^{}=]*)(=[^{}]*)?\}", lambda match: bound[match[1]], replacement)

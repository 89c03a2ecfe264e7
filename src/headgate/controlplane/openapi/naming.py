"""Names made from what documents call things: readable, valid, unique and the same every time."""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

MAX_NAME = 100
MAX_TITLE_SLUG = 80
MAX_ROUTE_SLUG = 90


def api_name(title: str) -> str:
    """A name for an API called `title`: `GitHub v3 REST API` gives `github-v3-rest-api`."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:MAX_TITLE_SLUG].strip("-")
    return slug or "api"


def route_names(api: str, operations: Sequence[tuple[str, str, str]]) -> list[str]:
    """A route name for each (method, path, operationId), `api:slug`.

    Of operations with the same slug the first by path and method has it to itself; the others carry a
    hash of their method and path, so that the order of a document does not matter.
    """
    slugs = [_slug(*operation) for operation in operations]
    holders: dict[str, tuple[str, str]] = {}
    for slug, (method, path, _) in zip(slugs, operations, strict=True):
        holders[slug] = min(holders.get(slug, (path, method)), (path, method))
    return [
        f"{api}:{slug}" if holders[slug] == (path, method) else f"{api}:{slug}-{_digest(method, path)}"
        for slug, (method, path, _) in zip(slugs, operations, strict=True)
    ]


def cluster_names(api: str, count: int, taken: Iterable[str] = ()) -> list[str]:
    """`count` names for clusters: `api`, `api-2`, `api-3`, leaving out those `taken`."""
    used = set(taken)
    names: list[str] = []
    number = 1
    while len(names) < count:
        suffix = "" if number == 1 else f"-{number}"
        name = api[: MAX_NAME - len(suffix)].rstrip("-._") + suffix
        if name not in used:
            names.append(name)
        number += 1
    return names


def _slug(method: str, path: str, operation_id: str) -> str:
    for text in (operation_id, f"{method.lower()}-{path}"):
        slug = re.sub(r"[^A-Za-z0-9._~]+", "-", text).strip("-._~")
        if len(slug) > MAX_ROUTE_SLUG:
            return f"{slug[: MAX_ROUTE_SLUG - 9].strip('-._~')}-{_digest(method, path)}"
        if slug:
            return slug
    return _digest(method, path)


def _digest(method: str, path: str) -> str:
    return blake2b(f"{method} {path}".encode(), digest_size=4).hexdigest()

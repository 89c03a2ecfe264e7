"""Which route answered a request: its template, never the path that the caller wrote.

The four frameworks leave it in different places. `/items/{id}` it is for all of them, whatever converters the
template names: metrics and logs of one service look like those of another.

    route_of = resolver(app)
    route_of(scope)          # "/items/{id}", "" when no route matched
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from starlette.types import Scope

from headgate.kit.asgi.detect import Found

ROUTE: Final = "headgate.route"
"""Where a hook in a framework leaves the template in the scope."""

_CONVERTER: Final = re.compile(r"\{([^{}:]+):[^{}]+\}")
_QUART_PARAMETER: Final = re.compile(r"<(?:[^<>:]*:)?([^<>]+)>")
_MOST_ROUTES: Final = 100_000

Resolver = Callable[[Scope], str]


def resolver(found: Sequence[Found]) -> Resolver:
    """How to find the template once an application, made with these frameworks, has been called."""
    for each in found:
        if each.framework == "quart":
            _note_quart_rules(each.app)
    starlettes = [each.app for each in found if each.framework in {"fastapi", "starlette"}]
    if starlettes:
        return _Starlette(starlettes)
    return of_litestar if found and found[0].framework == "litestar" else of_any


def path_reader(found: Sequence[Found]) -> Callable[[Scope], str]:
    """How to read the path that the outermost of these frameworks routes by: without the prefix it is served under.

    Controls must judge what the framework sees: `/api/orders` is `/orders` to one whose root path is `/api`.
    """
    first = found[0] if found else None
    if first is not None and first.framework == "litestar":
        return _litestar_path
    own: str = first.app.root_path if first is not None and first.framework == "fastapi" else ""

    def read(scope: Scope) -> str:
        path: str = scope["path"]
        root = own or scope.get("root_path")
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
            return path[len(root) :] or "/"
        return path

    return read


def _litestar_path(scope: Scope) -> str:
    """Litestar takes what follows the first place where the root path stands, wherever that is."""
    path: str = scope["path"]
    root = scope.get("root_path")
    return path.split(root, maxsplit=1)[-1] or "/" if root else path


def of_any(scope: Scope) -> str:
    """Whatever of the known places is filled."""
    return scope.get(ROUTE) or scope.get("path_template") or str(getattr(scope.get("route"), "path", ""))


def of_litestar(scope: Scope) -> str:
    """Litestar's template has no converters already."""
    return scope.get("path_template") or scope.get(ROUTE) or ""


class _Starlette:
    """Templates of Starlette's and FastAPI's routes, with the prefixes of what they are mounted in."""

    __slots__ = ("_apps", "_known")

    def __init__(self, apps: Sequence[Any]) -> None:
        self._apps = apps
        self._known: dict[int, tuple[Any, str]] = {}

    def __call__(self, scope: Scope) -> str:
        # FastAPI resolves included routers as it serves: the route itself then lacks the router's prefix.
        context = scope.get("fastapi")
        route = (context.get("effective_route_context") if context else None) or scope.get("route")
        if route is None:
            return scope.get(ROUTE) or scope.get("path_template") or ""
        known = self._known.get(id(route))
        if known is None or known[0] is not route:
            known = self._learn(route)
        return scope.get(ROUTE) or known[1]

    def _learn(self, wanted: Any) -> tuple[Any, str]:
        if len(self._known) > _MOST_ROUTES:
            self._known.clear()
        for app in reversed(self._apps):  # mounted ones again below what they are mounted in, with its prefix
            for route, template in _templates(app.routes, ""):
                self._known[id(route)] = (route, template)
        known = self._known.get(id(wanted))
        if known is None or known[0] is not wanted:
            known = self._known[id(wanted)] = (wanted, _template(wanted))
        return known


def _templates(routes: Iterable[Any], prefix: str) -> Iterator[tuple[Any, str]]:
    for route in routes:
        inner = getattr(route, "routes", None)
        if inner and not hasattr(route, "methods"):
            yield from _templates(inner, prefix + _CONVERTER.sub(r"{\1}", str(getattr(route, "path", ""))))
        else:
            yield route, prefix + _template(route)


def _template(route: Any) -> str:
    return str(getattr(route, "path_format", "") or getattr(route, "path", ""))


def _note_quart_rules(app: Any) -> None:
    """Have Quart leave the rule in the scope, before anything of the application runs."""
    for hooks, subject in (
        (app.before_request_funcs[None], "request"),
        (app.before_websocket_funcs[None], "websocket"),
    ):
        if not any(getattr(hook, "__module__", "") == __name__ for hook in hooks):
            hooks.insert(0, _note_rule_of(subject))


def _note_rule_of(subject: str) -> Callable[[], Any]:
    async def note() -> None:
        import quart

        connection: Any = getattr(quart, subject)
        if connection.url_rule is not None:
            connection.scope[ROUTE] = _QUART_PARAMETER.sub(r"{\1}", connection.url_rule.rule)

    return note

"""Which frameworks an application is made with, found by looking: wrapped, mounted or plain.

    detect(app)     # [Found("fastapi", <FastAPI>), Found("quart", <Quart>)], outermost first

No framework is imported for it: classes are known by the names of their modules.
"""

from typing import Any, Final, Literal, NamedTuple

Framework = Literal["fastapi", "litestar", "quart", "starlette"]

_CLASSES: Final[dict[tuple[str, str], Framework]] = {
    ("fastapi", "FastAPI"): "fastapi",
    ("starlette", "Starlette"): "starlette",
    ("litestar", "Litestar"): "litestar",
    ("quart", "Quart"): "quart",
}
_INNER: Final = ("app", "_app", "application", "asgi_app", "wrapped", "__wrapped__")
"""Under these names middleware keeps what it wraps."""

_DEEPEST: Final = 32


class Found(NamedTuple):
    """An application of a framework."""

    framework: Framework
    app: Any


def detect(app: Any) -> list[Found]:
    """The applications of known frameworks in `app`: it, what it wraps, and what is mounted in it."""
    found: list[Found] = []
    _look(app, found, set(), _DEEPEST)
    return found


def framework_of(app: Any) -> Framework | None:
    """The framework that `app` itself is made with."""
    for base in type(app).__mro__:
        known = _CLASSES.get((base.__module__.partition(".")[0], base.__name__))
        if known is not None:
            return known
    return None


def _look(app: Any, found: list[Found], seen: set[int], depth: int) -> None:
    if app is None or id(app) in seen or not depth:
        return
    seen.add(id(app))
    framework = framework_of(app)
    if framework is not None:
        found.append(Found(framework, app))
        if framework in {"fastapi", "starlette"}:
            for route in app.routes:
                _look_in_route(route, found, seen, depth - 1)
        return
    for name in _INNER:
        inner = getattr(app, name, None)
        if callable(inner):
            _look(inner, found, seen, depth - 1)
    if (owner := getattr(app, "__self__", None)) is not None:  # a bound method, such as Quart's `asgi_app`
        _look(owner, found, seen, depth - 1)


def _look_in_route(route: Any, found: list[Found], seen: set[int], depth: int) -> None:
    """Mounts and hosts hold applications, or routers with routes of their own."""
    inner = getattr(route, "app", None)
    if not hasattr(route, "methods") and inner is not None and depth:
        _look(inner, found, seen, depth)
        for each in getattr(route, "routes", None) or ():
            _look_in_route(each, found, seen, depth - 1)

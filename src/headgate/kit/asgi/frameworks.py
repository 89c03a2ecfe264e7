"""Makes FastAPI, Litestar, Quart and Starlette answer errors alike, on applications already made.

    found = prepare(app)      # the frameworks in it

An unknown path, a method that is not possible, a field that is too long, JSON that is none, a fault, a defect:
the same status and the same problem document from each. Handlers that an application registered itself stay.
An application of no known framework is left alone; the shell still answers what it raises.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from headgate.kit.asgi.detect import Found, Framework, detect


def prepare(app: Any) -> list[Found]:
    """Prepare every application in `app`; may be done again. Returns what was found, outermost first."""
    found = detect(app)
    for each in found:
        _PREPARE[each.framework](each.app)
    return found


def _starlette(app: Any) -> None:
    from headgate.kit.asgi.problems import install

    install(app)


def _litestar(app: Any) -> None:
    from headgate.kit.asgi.on_litestar import install

    install(app)


def _quart(app: Any) -> None:
    from headgate.kit.asgi.on_quart import install

    install(app)


_PREPARE: Final[Mapping[Framework, Callable[[Any], None]]] = {
    "fastapi": _starlette,
    "starlette": _starlette,
    "litestar": _litestar,
    "quart": _quart,
}

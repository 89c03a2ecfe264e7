"""The order service in four frameworks, one file each; `app_of` makes a fresh application."""

from importlib import import_module
from typing import Any, Final

FRAMEWORKS: Final = ("fastapi", "litestar", "quart", "starlette")


def app_of(framework: str) -> Any:
    """A new application, not yet hardened. Raises ImportError when the framework is not installed."""
    return import_module(f"{__name__}.{framework}_app").make()

"""Shared by the tests of the core: calls made by hand."""

import time
from collections.abc import Callable

import pytest

from headgate.kit.controls.call import Call
from headgate.kit.controls.principal import ANONYMOUS, Principal


@pytest.fixture
def call() -> Callable[..., Call]:
    """Makes a call of a principal, with headers; `deadline` is in seconds from now."""

    def make(
        principal: Principal = ANONYMOUS, headers: tuple[tuple[bytes, bytes], ...] = (), deadline: float | None = None
    ) -> Call:
        made = Call("local", "POST", "/", headers, "127.0.0.1", time.monotonic())
        made.principal = principal
        if deadline is not None:
            made.deadline = time.monotonic() + deadline
        return made

    return make

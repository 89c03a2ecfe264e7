"""The hardening kit: what every service of ours stands on.

    from headgate.kit import harden

    app = harden(app)                   # one line: settings from the environment, .env and a file

    from headgate.kit import Kit        # several protocols, sharing budgets, keys, metrics

Names are imported when they are first used: a command line pays for no server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.kit.controls.call import Call, Control
    from headgate.kit.controls.principal import Principal
    from headgate.kit.current import current_call
    from headgate.kit.hardening import HardeningSettings
    from headgate.kit.kit import Kit, harden

__all__ = ["Call", "Control", "HardeningSettings", "Kit", "Principal", "current_call", "harden"]

_HOMES: Final = {
    "Call": "controls.call",
    "Control": "controls.call",
    "HardeningSettings": "hardening",
    "Kit": "kit",
    "Principal": "controls.principal",
    "current_call": "current",
    "harden": "kit",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)

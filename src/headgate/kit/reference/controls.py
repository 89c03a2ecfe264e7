"""The page of the controls: each made once with everything switched on, and asked what it is.

What a control's line in the table reads of the settings is what it is said to depend on: a class of settings that
notes which of its fields are read stands in for the real ones.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from headgate.kit.asgi.health import Health
from headgate.kit.controls.call import EVERY, Control
from headgate.kit.hardening import HardeningSettings
from headgate.kit.observe.metrics import Metrics
from headgate.kit.opening import open_audit, open_limits, open_traces
from headgate.kit.policies import known_authenticators
from headgate.kit.reference.markdown import GENERATED, first_paragraph, table
from headgate.kit.table import CONTROLS, Entry, Parts, probe_paths

PHASES: Final = ("identify", "admit", "respond", "settle")

_ON: Final[Mapping[str, Any]] = {
    "audit_log": "stderr",
    "cors_allowed_origins": ("https://shop.example",),
    "load_shedding": True,
    "rate_limit_tokens": "1/second",
    "telemetry_disabled": True,
    "trusted_hosts": ("shop.example",),
    "trusted_proxies": ("10.0.0.0/8",),
}
"""What switches on all that is off unless told otherwise. No span is sent, though there is a control for them."""

_INSIDE: Final[Mapping[str, tuple[Callable[..., object], tuple[str, ...]]]] = {
    "rate_limit": (lambda settings: open_limits(settings, Metrics()), ()),
    "trace": (open_traces, ()),
    "audit": (lambda settings: open_audit(settings, Metrics()), ()),
    "identity": (lambda settings: known_authenticators(settings, mtls=True), ("tls_client_ca", "public_paths")),
    "access": (lambda _settings: None, ("access_rules", "public_paths")),
    "security_headers": (lambda _settings: None, ("docs_paths",)),
}
"""Whoever makes the part that a control works with, and settings that a kit reads for it besides."""


class Listed(NamedTuple):
    """One control: what it is called and does, where it takes part, and the settings that change it."""

    name: str
    does: str
    phases: tuple[str, ...]
    protocols: frozenset[str]
    settings: tuple[str, ...]


def listed() -> list[Listed]:
    """Every control, in the order of the table."""
    read: set[str] = set()
    settings = _noting(read)
    nowhere: Any = object()
    parts = Parts(
        health=Health(),
        metrics=Metrics(),
        store=open_limits(settings, Metrics()),
        audit=open_audit(settings, Metrics()),
        traces=nowhere,
        authenticators=known_authenticators(settings, mtls=True),
    )
    exempt = _reads(read, probe_paths, settings)
    made = [_made(read, entry, settings, parts) for entry in CONTROLS]
    named = Counter(control.name for control, _ in made)
    found = []
    for control, mine in made:
        make, more = _INSIDE.get(control.name, (lambda _settings: None, ()))
        # Whom no limit concerns is no matter of the limit.
        own = mine if control.name in {"measure", "probes"} else mine - exempt
        own |= _reads(read, make, settings) | set(more)
        found.append(_listed(control, own, alone=named[control.name] == 1))
    return found


def controls_page() -> str:
    """The page of all controls."""
    rows = [
        (
            str(number),
            f"`{each.name}`",
            each.does,
            ", ".join(each.phases),
            "all" if each.protocols == EVERY else ", ".join(sorted(each.protocols)),
            ", ".join(f"`{name}`" for name in each.settings),
        )
        for number, each in enumerate(listed(), 1)
    ]
    return f"""{GENERATED}
# Controls

What stands round a hardened service, in this order: every control identifies in it, then every one admits, and the
first that refuses ends both. On the way back all of them respond and settle, whoever refused. The name is what logs
(`refused_by`), metrics (`control`) and the audit log (`rule.name`) know it by. A control whose settings switch it off
is not there. See [How a request travels](../explanation/how-a-request-travels.md) and [the
settings](kit-settings.md).

{table(("", "control", "what it does", "phases", "protocols", "settings"), rows)}
Controls of one's own (`Kit(more=[...])`) come last. What counts bytes (`max_body_size`), keeps the time, compresses
(`gzip_min_size`) and judges texts (`content_filter_*`) is no control: it stands round the application itself.
"""


def _noting(read: set[str]) -> HardeningSettings:
    """Settings with everything on, which note in `read` what is read of them."""
    fields = frozenset(HardeningSettings.model_fields)

    class Noting(HardeningSettings):
        def __getattribute__(self, name: str) -> Any:
            if name in fields:
                read.add(name)
            return super().__getattribute__(name)

    return Noting(**_ON)


def _reads(read: set[str], make: Callable[..., object], *given: object) -> set[str]:
    read.clear()
    make(*given)
    return set(read)


def _made(read: set[str], entry: Entry, settings: HardeningSettings, parts: Parts) -> tuple[Control, set[str]]:
    """A control, and what its line in the table reads."""
    read.clear()
    control = entry(settings, parts)
    assert control is not None, f"{entry} is not switched on"  # noqa: S101 - everything is
    return control, set(read)


def _listed(control: Control, settings: set[str], *, alone: bool) -> Listed:
    """`alone` whether no other control has its name: then its module tells of it."""
    kind = type(control)
    told = sys.modules[kind.__module__] if alone else kind
    return Listed(
        control.name,
        first_paragraph(told.__doc__),
        tuple(phase for phase in PHASES if getattr(kind, phase) is not getattr(Control, phase)),
        frozenset(control.protocols),
        tuple(name for name in HardeningSettings.model_fields if name in settings),
    )

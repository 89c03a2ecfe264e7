"""A registry from a URL, as settings and command lines give it.

    registry_from("memory://")
    registry_from("file:///srv/services.yaml?interval=1")
    registry_from("dns://10.0.0.2:53/internal.example?wires=http,grpc")
    registry_from("consul://127.0.0.1:8500?dc=eu&token_file=/run/secrets/consul&consistency=stale")
    registry_from("kubernetes://?namespace=shop&selector=team=orders&advertise=dns")

`memory://` is one directory for the whole process; `memory://NAME` others. `consuls://` is Consul over TLS. No URL
carries a token: what is in one is seen in process lists.

    InvalidArgument
    └── invalid_registry_url    the scheme, a part or a parameter; violations tell which, as `/query/NAME`
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.service.registry.base import BaseRegistry
from headgate.service.registry.memory import Directory, MemoryRegistry
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy

Read = Callable[[str], Any]
Shared = dict[str, Any]

_DIRECTORIES: Final[dict[str, Directory]] = {}


def registry_from(
    url: str, *, policy: RegistryPolicy | None = None, observer: RegistryObserver | None = None
) -> BaseRegistry:
    """The registry that a URL means. Raises InvalidArgument, and FailedPrecondition where a library is missing."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise _invalid(url, f"it is no URL: {error}") from error
    make = _MAKERS.get(parts.scheme)
    if make is None:
        raise _invalid(url, f"there is no registry '{parts.scheme}'", hint=f"one of {', '.join(_MAKERS)}")
    if parts.username or parts.password:
        raise _invalid(url, "it must not carry a user or a password", hint="token_file=PATH for Consul")
    if parts.fragment:
        raise _invalid(url, "it has a fragment", hint="'#' is written %23")
    return make(url, parts, {"policy": policy, "observer": observer})


def _memory(url: str, parts: SplitResult, shared: Shared) -> BaseRegistry:
    _read(url, parts, {})
    if parts.path not in ("", "/"):
        raise _invalid(url, "memory takes no path", "/path")
    return MemoryRegistry(_DIRECTORIES.setdefault(parts.netloc, Directory()), **shared)


def _file(url: str, parts: SplitResult, shared: Shared) -> BaseRegistry:
    from headgate.service.registry.file import FileRegistry

    if parts.netloc or not parts.path.strip("/"):
        raise _invalid(url, "a file has a path and no host", "/path", hint="file:///srv/services.yaml")
    return FileRegistry(unquote(parts.path), **_read(url, parts, {"interval": float, "ttl": float}), **shared)


def _dns(url: str, parts: SplitResult, shared: Shared) -> BaseRegistry:
    from headgate.service.registry.dns import DnsOptions, DnsRegistry, server_of

    known: Mapping[str, Read] = {
        "records": str, "wires": _list, "port": int, "least_ttl": float, "most_ttl": float, "resolve": _yes,
    }  # fmt: skip
    if parts.netloc:
        server_of(parts.netloc)
    return DnsRegistry(
        unquote(parts.path).strip("/"), DnsOptions(server=parts.netloc, **_read(url, parts, known)), **shared
    )


def _consul(url: str, parts: SplitResult, shared: Shared) -> BaseRegistry:
    from headgate.service.registry.consul import ConsulRegistry
    from headgate.service.registry.consul_api import ConsulOptions

    known: Mapping[str, Read] = {
        "dc": str, "token_file": str, "consistency": str, "wait": float, "check": str, "ttl": float, "ca_file": str,
        "check_path": str, "deregister_after": float, "wire": str, "tags": _list,
    }  # fmt: skip
    if parts.path not in ("", "/"):
        raise _invalid(url, "Consul takes no path", "/path")
    options = ConsulOptions(**_read(url, parts, known))
    scheme = "https" if parts.scheme == "consuls" else "http"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "127.0.0.1"
    return ConsulRegistry(f"{scheme}://{host}:{parts.port or 8500}", options, **shared)


def _kubernetes(url: str, parts: SplitResult, shared: Shared) -> BaseRegistry:
    from headgate.service.registry.kube_form import KubeForm
    from headgate.service.registry.kubernetes import KubeOptions, KubernetesRegistry

    if parts.netloc or parts.path not in ("", "/"):
        hint = "kubernetes://?kubeconfig=PATH&context=NAME chooses the cluster"
        raise _invalid(url, "Kubernetes takes no host and no path", hint=hint)
    form: Mapping[str, Read] = {"advertise": str, "ports": _pairs, "wire": str, "cluster_domain": str}
    known: Mapping[str, Read] = {
        "namespace": _list, "selector": str, "idle": float, "kubeconfig": str, "context": str, "dns_fallback": _list,
        "dns_server": str, **form,
    }  # fmt: skip
    told = _read(url, parts, known)
    written = KubeForm(**{name: told.pop(name) for name in list(told) if name in form})
    return KubernetesRegistry(KubeOptions(namespaces=told.pop("namespace", ()), form=written, **told), **shared)


_MAKERS: Final[Mapping[str, Callable[[str, SplitResult, Shared], BaseRegistry]]] = {
    "memory": _memory,
    "file": _file,
    "dns": _dns,
    "consul": _consul,
    "consuls": _consul,
    "kubernetes": _kubernetes,
}


def _read(url: str, parts: SplitResult, known: Mapping[str, Read]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    wrong: list[Violation] = []
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            wrong.append(_unknown(name, list(known)))
        elif name in told:
            wrong.append(Violation(f"/query/{name}", "is given twice", "join several by commas"))
        else:
            try:
                told[name] = known[name](text)
            except ValueError as error:
                wrong.append(Violation(f"/query/{name}", f"'{text[:100]}' {_WANTED.get(known[name], error)}"))
    if wrong:
        raise _invalid(url, "; ".join(each.message for each in wrong), violations=wrong)
    return told


def _unknown(name: str, known: list[str]) -> Violation:
    # pydantic comes with it, which nobody waits for whose URL is right.
    from headgate.kit.controls.validation import did_you_mean

    return Violation(
        f"/query/{name}", f"unknown parameter '{name}'", did_you_mean(name, known) if known else "it takes none"
    )


def _list(text: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in text.split(","))
    if not all(found):
        raise ValueError("is no list")
    return found


def _pairs(text: str) -> dict[str, str]:
    pairs = [each.partition(":") for each in _list(text)]
    if not all(name and wire for name, _, wire in pairs):
        raise ValueError("are no pairs")
    return {name: wire for name, _, wire in pairs}


def _yes(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


_WANTED: Final[Mapping[Read, str]] = {
    int: "is no whole number",
    float: "is no number of seconds",
    _list: "is no list of names joined by commas",
    _pairs: "is no list of PORT:WIRE joined by commas",
}


def _invalid(
    url: str, message: str, pointer: str = "", *, hint: str = "", violations: list[Violation] | None = None
) -> InvalidArgument:
    shown = url.split("?", 1)[0]
    shown = shown if "@" not in shown else shown.split("://", 1)[0] + "://..."
    found = violations or [Violation(pointer, message, hint)]
    return InvalidArgument(
        f"'{shown[:200]}' means no registry: {message}", code="invalid_registry_url", hint=hint, violations=found
    )

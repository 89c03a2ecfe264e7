"""Servers: where an API says it lives, as an origin to connect to and a base path.

Source: OpenAPI 3.x Server Object; Swagger 2.0 `host`, `basePath`, `schemes`.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urljoin

from headgate.controlplane.model.base import is_ip

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=//|[^0-9]|$)")
_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_HOSTNAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_HOST_FIRST: Final = re.compile(r"(?i)(localhost|[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}|[0-9.]+)(:[0-9]+)?(/|$)")
_USER: Final = re.compile(r"//[^/?#]*@")
_OPEN_START: Final = re.compile(r"(?:\{[^{}]*\}://)?[^/]*")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """What to connect to. `host` is a lower-case DNS name, or an IP address without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @property
    def text(self) -> str:
        """As it stands in a URL, such as `https://api.example.com`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True)
class Server:
    """One entry of `servers`.

    `origin` is None when there is no telling whom to connect to, and `problem` says why. `base` is the path
    of the URL without a slash at its end; it may hold variables. `notes` are (code, sentence) pairs.
    """

    pointer: str
    url: str
    origin: Origin | None
    base: str
    problem: str = ""
    notes: tuple[tuple[str, str], ...] = ()


def read_servers(nodes: Sequence[Any], pointer: str, document_url: str = "") -> list[Server]:
    """Every entry of a `servers` list, in order. A relative URL is one against `document_url`."""
    found = []
    for index, node in enumerate(nodes):
        at = f"{pointer}/{index}"
        if isinstance(node, Mapping) and isinstance(node.get("url"), str):
            found.append(read_server(node["url"], f"{at}/url", node.get("variables"), document_url))
        else:
            found.append(Server(at, "", None, "", "it is not an object with a 'url'"))
    return found


def swagger_servers(root: Mapping[str, Any], schemes: Any, document_url: str = "") -> list[Server]:
    """What Swagger 2.0's `host`, `basePath` and a list of schemes amount to: one server per scheme."""
    host, base = root.get("host"), root.get("basePath")
    path = "/" + base.lstrip("/") if isinstance(base, str) else ""
    if not isinstance(host, str) or not host.strip():
        return [read_server(path or "/", "/basePath" if path else "", None, document_url)]
    bare = host.strip().rpartition("://")[2].strip("/")
    given = [scheme.lower() for scheme in schemes if isinstance(scheme, str)] if isinstance(schemes, list) else []
    if not given:
        return [read_server(f"//{bare}{path}", "/host", None, document_url)]
    ordered = sorted(dict.fromkeys(given), key=lambda scheme: {"https": 0, "http": 1}.get(scheme, 2))
    return [read_server(f"{scheme}://{bare}{path}", "/host", None, document_url) for scheme in ordered]


def read_server(url: str, pointer: str, variables: Any = None, document_url: str = "") -> Server:
    """One server URL, its variables replaced by their defaults."""
    notes: list[tuple[str, str]] = []
    text = _substitute(url.strip(), variables)
    url = _USER.sub("//", url)
    if document_url and not _SCHEME.match(text):
        text = _joined(document_url, text)
    cut = re.search(r"[?#]", _VARIABLE.sub(lambda match: "x" * len(match.group()), text))
    if cut:
        notes.append(("server_query_ignored", f"what follows '{cut.group()}' in the server URL '{url}' is ignored"))
        text = text[: cut.start()]
    scheme, rest = "", text
    named = _SCHEME.match(text)
    if named:
        scheme, rest = named.group(1).lower(), text[named.end() :]
    authority, base, problem = _split(rest, scheme)
    if authority and not scheme:
        scheme = "https"
        notes.append(("scheme_assumed", f"the server URL '{url}' names no scheme: https is assumed"))
    if not problem and scheme not in _PORTS:
        problem = f"its scheme is '{scheme}': only http and https can be routed"
    origin: Origin | None = None
    if not problem:
        origin, problem = _origin(scheme, authority)
        if "@" in authority:
            notes.append(("credentials_ignored", f"the user and password in the server URL at {pointer} are ignored"))
    return Server(pointer, url, origin, _base(base), problem, tuple(notes))


def _joined(document_url: str, relative: str) -> str:
    try:
        return urljoin(document_url, relative)
    except ValueError:
        return relative


def _substitute(url: str, variables: Any) -> str:
    known = variables if isinstance(variables, Mapping) else {}

    def value(match: re.Match[str]) -> str:
        variable = known.get(match.group(1))
        if not isinstance(variable, Mapping):
            return match.group()
        enum = variable.get("enum")
        for candidate in (variable.get("default"), *(enum if isinstance(enum, list) else ())):
            if isinstance(candidate, str | int | float) and not isinstance(candidate, bool):
                return str(candidate)
        return match.group()

    return _VARIABLE.sub(value, url)


def _split(rest: str, scheme: str) -> tuple[str, str, str]:
    """Authority, path, and why there is no authority."""
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        return authority, slash + path, "" if authority else "it names no host"
    if scheme:
        return "", rest, "it names no host after its scheme"
    if rest.startswith("{") and (start := _OPEN_START.match(rest)):
        return "", rest[start.end() :], f"its variable '{rest[1:].partition('}')[0]}' has no default"
    if not rest.startswith("/") and _HOST_FIRST.match(rest):
        path = rest.partition("/")[2]
        return "", "/" + path, f"it has no scheme: a reader takes it for a path; write 'https://{rest}'"
    return "", rest, "it is relative: it names no host"


def _origin(scheme: str, authority: str) -> tuple[Origin | None, str]:
    match = re.fullmatch(r"(?:.*@)?(\[[^\[\]]*\]|[^:]*)(?::([^:]*))?", authority, re.DOTALL)
    open_variables = _VARIABLE.findall(authority)
    if open_variables:
        return None, f"its variable '{open_variables[0]}' has no default"
    if match is None:
        return None, f"'{authority}' is not a host and a port"
    host, port_text = match.group(1), match.group(2)
    port = _PORTS[scheme]
    if port_text:
        if not re.fullmatch(r"[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65535:
            return None, f"'{port_text}' is not a port"
        port = int(port_text)
    name = _host(host)
    if not name:
        return None, f"'{host}' is not a host name or an IP address"
    return Origin("https" if scheme == "https" else "http", name, port), ""


def _host(text: str) -> str:
    if text.startswith("["):
        bare = text.strip("[]")
        return str(ipaddress.ip_address(bare)) if is_ip(bare) and "%" not in bare else ""
    try:
        host = text.lower() if text.isascii() else text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""
    host = host.rstrip(".")
    if is_ip(host):
        return host
    looks_numeric = re.fullmatch(r"[0-9.]+", host)
    return host if len(host) <= 253 and _HOSTNAME.fullmatch(host) and not looks_numeric else ""


def _base(path: str) -> str:
    trimmed = path.strip().rstrip("/")
    return trimmed if not trimmed or trimmed.startswith("/") else "/" + trimmed

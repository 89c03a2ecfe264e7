"""What publishing an origin takes: its cluster, the Host it wants to see, and a path to serve it under."""

import re
from dataclasses import replace
from typing import Any

from headgate.controlplane.model.base import is_ip
from headgate.controlplane.openapi.paths import UnroutableError, encode
from headgate.controlplane.openapi.servers import Origin, Server, read_server
from headgate.kit.controls.faults import InvalidArgument, Violation

MAX_MOUNT = 256

_UNWANTED = {
    "scheme_assumed": "it names no scheme",
    "server_query_ignored": "it has a query or a fragment",
    "credentials_ignored": "it holds a user or a password",
}
"""What a document may say about a server, and a person should not."""


def cluster_document(origin: Origin) -> dict[str, Any]:
    """The cluster for one origin: a name is looked up while it runs, and a certificate must carry it."""
    document: dict[str, Any] = {"endpoints": [{"address": origin.host, "port": origin.port}]}
    if not is_ip(origin.host):
        # Where a name has both, the IPv4 address is the one more upstreams listen on, `localhost` above all.
        document = {"discovery": "strict_dns", **document, "dns_family": "v4_preferred"}
    if origin.scheme == "https":
        document["tls"] = {"subject_alt_names": [origin.host]} if is_ip(origin.host) else {"sni": origin.host}
    return document


def host_rewrite(origin: Origin) -> dict[str, Any]:
    """How a route makes the upstream see its own Host. An IPv6 address sees the gateway's."""
    if not is_ip(origin.host):
        return {"auto_host_rewrite": True}
    return {} if ":" in origin.host else {"host_rewrite": origin.host}


def read_upstream(url: str, pointer: str = "/upstream") -> Server:
    """The server that `url` names; `pointer` is where the caller wrote it.

    Raises InvalidArgument with code `invalid_upstream`.
    """
    server = read_server(url, pointer)
    problem = server.problem or next((_UNWANTED[code] for code, _ in server.notes), "")
    base = ""
    try:
        base = encode(server.base)
    except UnroutableError as error:
        problem = problem or error.reason
    if "{" in server.base:
        problem = problem or "its path holds a variable"
    if problem:
        raise InvalidArgument(
            f"The upstream URL cannot be used: {problem}.",
            code="invalid_upstream",
            hint="Give it as http://HOST:PORT or https://HOST, with a path if need be.",
            violations=[Violation(pointer, problem)],
        )
    return replace(server, base=base)


def read_mount(path: str) -> str:
    """The path to serve something under, without a slash at its end, "" for the root.

    Raises InvalidArgument with code `invalid_path`.
    """
    problem = ""
    if path in ("", "/"):
        return ""
    if not path.startswith("/"):
        problem = "must start with '/'"
    elif len(path) > MAX_MOUNT:
        problem = f"must not be longer than {MAX_MOUNT} characters"
    elif not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+/?", path) or re.search(r"/\.{1,2}(/|$)", path):
        problem = "must be plain text between single slashes, without variables, '%', '?' or '#'"
    if problem:
        raise InvalidArgument(
            f"Nothing can be served under the path '{path[:80]}': it {problem}.",
            code="invalid_path",
            hint="Give it like /github.",
            violations=[Violation("/path", problem)],
        )
    return path.rstrip("/")

"""How the Kubernetes API is reached: from inside a cluster, or as a kubeconfig says.

    access = access_from("")                            # in the cluster, else $KUBECONFIG, else ~/.kube/config
    access = access_from("/srv/kubeconfig", context="staging")

In a cluster the token's file is read for every request, since the kubelet rotates it. A kubeconfig may have a token,
a token's file, a client certificate, or an exec plugin, whose token is kept until it expires. Tokens and keys are in
no repr and no fault.

    FailedPrecondition
    └── no_kubernetes       no configuration, or one that is not complete: says what is missing and where
"""

import asyncio
import base64
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from headgate.kit.controls.faults import FailedPrecondition, Unauthenticated
from headgate.service.registry.base import missing

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EARLY_SECONDS: Final = 30.0
"""A token is no longer used that long before it expires."""


@dataclass
class Credentials:
    """What is shown to the API: a token, one in a file, one of an exec plugin, or nothing."""

    token: str = field(default="", repr=False)
    token_file: str = ""
    plugin: Mapping[str, Any] | None = field(default=None, repr=False)
    timeout: float = 30.0
    _expires: float = field(default=0.0, repr=False)

    async def bearer(self) -> str:
        """The token of now, "" for none. Raises Unauthenticated when it cannot be had."""
        if self.token_file:
            try:
                return (await asyncio.to_thread(Path(self.token_file).read_text)).strip()
            except OSError as error:
                reason = f"the token cannot be read: {self.token_file}: {error.strerror}"
                raise Unauthenticated(reason, code="registry_unauthenticated") from error
        if self.plugin is not None and (not self.token or self._expires < datetime.now(UTC).timestamp()):
            await self._ask_plugin(self.plugin)
        return self.token

    def refused(self) -> None:
        """The API did not take the token: a plugin is asked for another."""
        if self.plugin is not None:
            self.token = ""

    async def _ask_plugin(self, plugin: Mapping[str, Any]) -> None:
        command = str(plugin.get("command") or "")
        version = plugin.get("apiVersion")
        if version not in _EXEC_VERSIONS or not command:
            raise _broken(f"the exec plugin '{command}' of {version} is not known", f"one of {_EXEC_VERSIONS}")
        told = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
        extra = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or ()}
        environment = {**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(told)}
        try:
            process = await asyncio.create_subprocess_exec(
                command, *map(str, plugin.get("args") or ()), env=environment,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise _failed(command, error.strerror or "cannot be run") from error
        try:
            async with asyncio.timeout(self.timeout):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise _failed(command, f"took over {self.timeout:g} seconds") from error
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise _failed(command, f"ended with {process.returncode}")
        try:
            status = json.loads(output)["status"]
            self.token = str(status["token"])
            expires = status.get("expirationTimestamp")
            self._expires = _seconds(expires) - _EARLY_SECONDS if expires else float("inf")
        except (ValueError, KeyError, TypeError) as error:
            raise _failed(command, "told no token") from error


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is, how it is trusted, and who asks. `namespace` is the default one."""

    server: str
    namespace: str
    tls: ssl.SSLContext | None
    credentials: Credentials


def access_from(kubeconfig: str = "", *, context: str = "", service_account: str = SERVICE_ACCOUNT) -> Access:
    """The access that is configured. Raises FailedPrecondition (`no_kubernetes`); reads files."""
    inside = Path(service_account, "token")
    if not kubeconfig and not context and "KUBERNETES_SERVICE_HOST" in os.environ and inside.exists():
        return _in_cluster(Path(service_account))
    listed = [kubeconfig] if kubeconfig else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    paths = [Path(each).expanduser() for each in listed if each] or [Path("~/.kube/config").expanduser()]
    found = [(path, _document(path)) for path in paths if path.exists()]
    if not found:
        raise _broken(
            f"there is no configuration of Kubernetes: {', '.join(map(str, paths))}",
            "run in a cluster, or set KUBECONFIG",
        )
    return _of_documents(found, context)


def _in_cluster(account: Path) -> Access:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    namespace = account / "namespace"
    return Access(
        f"https://{host}:{port}",
        namespace.read_text().strip() if namespace.exists() else "default",
        _context(str(account / "ca.crt"), "", verify=True),
        Credentials(token_file=str(account / "token")),
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise missing("PyYAML to read a kubeconfig", "kubernetes") from error
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise _broken(f"{path}{where}: {getattr(error, 'strerror', None) or 'no YAML'}") from error
    if not isinstance(document, dict):
        raise _broken(f"{path}: an object is wanted")
    return document


def _of_documents(found: list[tuple[Path, dict[str, Any]]], context: str) -> Access:
    context = context or next((str(each["current-context"]) for _, each in found if each.get("current-context")), "")
    if not context:
        raise _broken(f"{found[0][0]}: no current-context", "kubectl config use-context NAME")
    _, chosen = _named(found, "contexts", "context", context)
    path, cluster = _named(found, "clusters", "cluster", str(chosen.get("cluster")))
    home, user = _named(found, "users", "user", str(chosen["user"])) if chosen.get("user") else (path, {})
    server = str(cluster.get("server") or "")
    if urlsplit(server).scheme not in ("http", "https"):
        raise _broken(f"{path}: the cluster of '{context}' has no server that is a URL")
    tls = None
    if server.startswith("https"):
        verify = not cluster.get("insecure-skip-tls-verify")
        authority = _beside(path, cluster.get("certificate-authority"))
        tls = _context(authority, _decoded(cluster.get("certificate-authority-data")), verify=verify)
        _show_certificate(tls, home, user)
    credentials = Credentials(
        token=str(user.get("token") or ""), token_file=_beside(home, user.get("tokenFile")), plugin=user.get("exec")
    )
    return Access(server.rstrip("/"), str(chosen.get("namespace") or "default"), tls, credentials)


def _named(found: list[tuple[Path, dict[str, Any]]], many: str, one: str, name: str) -> tuple[Path, dict[str, Any]]:
    for path, document in found:
        for each in document.get(many) or ():
            if isinstance(each, dict) and each.get("name") == name:
                return path, each.get(one) or {}
    raise _broken(f"{', '.join(str(path) for path, _ in found)}: there is no '{name}' in {many}")


def _context(file: str, data: str, *, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=file or None, cadata=data or None)
    except (OSError, ssl.SSLError) as error:
        raise _broken(f"the certificate authority {file or '(data)'} cannot be used: {error}") from error
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _show_certificate(context: ssl.SSLContext, home: Path, user: Mapping[str, Any]) -> None:
    """Load the client certificate. Python takes it from files only, so inline data passes through private ones."""
    certificate, key = _beside(home, user.get("client-certificate")), _beside(home, user.get("client-key"))
    inline = _decoded(user.get("client-certificate-data")), _decoded(user.get("client-key-data"))
    if not (certificate or inline[0]):
        return
    with tempfile.TemporaryDirectory() as folder:
        if inline[0]:
            certificate = str(Path(folder, "certificate"))
            Path(certificate).write_text(inline[0])
        if inline[1]:
            key = str(Path(folder, "key"))
            Path(key).write_text(inline[1])
        try:
            context.load_cert_chain(certificate, key or None)
        except (OSError, ssl.SSLError) as error:
            raise _broken(f"{home}: the client certificate cannot be used: {error.strerror or error}") from error


def _beside(path: Path, told: Any) -> str:
    return str(path.parent / str(told)) if told else ""


def _decoded(told: Any) -> str:
    try:
        return base64.b64decode(str(told), validate=True).decode() if told else ""
    except ValueError as error:
        raise _broken("data of a certificate or key is no base64") from error


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _failed(command: str, reason: str) -> Unauthenticated:
    return Unauthenticated(f"the exec plugin '{command}' {reason}", code="registry_unauthenticated")


def _broken(message: str, hint: str = "") -> FailedPrecondition:
    return FailedPrecondition(message, code="no_kubernetes", hint=hint)

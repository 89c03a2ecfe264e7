"""What several worker processes serve, in a form that crosses to them.

    plan = Plan(app="shop:app", server="granian", port=8080, grpc="shop:rpc", health="shop:kit.health")

Names are import paths, `package.module:attribute`, with dots for attributes of attributes.
"""

import importlib
import inspect
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.observe.logs import LogFormat
from headgate.kit.serve.engines import HttpLimits, ServerName
from headgate.kit.serve.ports import PortSetting
from headgate.kit.tls.files import TlsFiles


@dataclass(frozen=True, slots=True)
class Plan:
    """The same as the arguments of `serve`, with names in the place of objects.

    `app` names an ASGI application, or with `factory` a function without arguments that makes one. `grpc` names what
    `serve` takes as `grpc`, or a function without arguments that makes it inside the event loop; its port must be
    shareable (`grpc.so_reuseport`, which is gRPC's default). `health` names the application's Health.
    """

    app: str
    factory: bool = False
    grpc: str = ""
    health: str = ""
    server: ServerName = "uvicorn"
    host: str = "127.0.0.1"
    port: int = 8080
    setting: str = PortSetting("port")
    grpc_port: int = 50_051
    grpc_setting: str = PortSetting("grpc_port")
    tls: TlsFiles | None = None
    tls_reload: float = 10.0
    limits: HttpLimits = field(default_factory=HttpLimits)
    shutdown_delay: float = 0.0
    shutdown_grace: float = 10.0
    log_level: str = "info"
    log_format: LogFormat = "auto"


def to_json(plan: Plan) -> str:
    """The plan as text."""
    return json.dumps(asdict(plan), default=str)


def from_json(text: str) -> Plan:
    """The plan again."""
    values: dict[str, Any] = json.loads(text)
    values["limits"] = HttpLimits(**values["limits"])
    if (tls := values["tls"]) is not None:
        for name in ("certificate", "key", "client_ca"):
            tls[name] = Path(tls[name]) if tls[name] is not None else None
        values["tls"] = TlsFiles(**tls)
    return Plan(**values)


def imported(name: str) -> Any:
    """The object at an import path.

    Raises InvalidArgument: `import_path_invalid` when it is none, `import_failed` when there is no such module or
    attribute. What the module itself raises goes through.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise InvalidArgument(
            f"'{name}' is no import path", code="import_path_invalid", hint="write it as package.module:attribute"
        )
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise InvalidArgument(f"there is no module '{error.name}' (for '{name}')", code="import_failed") from error
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise InvalidArgument(f"'{name}' has no '{attribute}'", code="import_failed") from error
    return found


def made(name: str) -> Any:
    """The object at an import path, or what it makes when it is a function or a class."""
    found = imported(name)
    return found() if inspect.isroutine(found) or inspect.isclass(found) else found

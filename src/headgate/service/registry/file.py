"""A registry that is a document, in YAML or JSON, read again whenever it changes.

    services:
      orders:
        - id: orders-1
          version: 1.2.0
          endpoints: {http: "http://10.0.0.1:8080", grpc: "10.0.0.1:50051"}

    registry = FileRegistry("/srv/services.yaml")

Somebody writes it (by replacing it, or ours by `register`, which replaces it too: readers never see a half of it).
What is wrong in it is told, with where; until it is right again the last good one is kept, marked stale. Instances
that were registered carry `expires`, in seconds since 1970, and are renewed: those of processes that died are left
out, and removed by the next who writes. Directories that are mounted (ConfigMaps) and network drives work too, since
the file is looked at every `interval` seconds.

    InvalidArgument
    └── invalid_registry_file   no YAML or JSON, or instances that are none; violations with JSON pointers
    Unavailable
    └── registry_unavailable    it is not there, may not be read or written
"""

import asyncio
import fcntl
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headgate.kit.controls.faults import InvalidArgument, Unavailable, Violation
from headgate.service.registry.base import BaseRegistry, Versions, missing, versions
from headgate.service.registry.instance import Instance
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy
from headgate.service.registry.watcher import Answer

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a document."""

Document = dict[str, list[dict[str, Any]]]


class FileRegistry(BaseRegistry):
    """See the module. `ttl` is how long what was registered stays without being renewed, in seconds."""

    name = "file"

    def __init__(
        self,
        path: str | Path,
        *,
        interval: float = 0.5,
        ttl: float = 15.0,
        policy: RegistryPolicy | None = None,
        observer: RegistryObserver | None = None,
    ) -> None:
        super().__init__(policy, observer)
        if interval <= 0 or ttl <= 0:
            raise InvalidArgument("interval and ttl are positive, in seconds", code="invalid_registry_policy")
        self.path = Path(path)
        self.interval, self.ttl = interval, ttl

    async def services(self) -> Versions:
        """All services that it knows of, and their versions. Raises InvalidArgument, Unavailable."""
        found = instances_of(await asyncio.to_thread(read, self.path), time.time())
        return versions({name: list(each) for name, each in found.items() if each})

    def _source(self, service: str) -> "_Source":
        return _Source(self, service)

    def _keeper(self) -> "_Keeper":
        return _Keeper(self.path, self.ttl)


class _Source:
    def __init__(self, registry: FileRegistry, service: str) -> None:
        self._path, self._interval, self._service = registry.path, registry.interval, service

    async def follow(self) -> AsyncIterator[Answer]:
        seen: tuple[int, ...] | None = None
        document: Document = {}
        while True:
            state = await asyncio.to_thread(_state, self._path)
            if state != seen:
                document, seen = await asyncio.to_thread(read, self._path), state
            # Each time, for instances expire without the file being written.
            yield Answer(instances_of(document, time.time()).get(self._service, ()))
            await asyncio.sleep(self._interval)

    async def aclose(self) -> None:
        pass


class _Keeper:
    def __init__(self, path: Path, ttl: float) -> None:
        self._path, self._ttl = path, ttl
        self.interval = ttl / 3

    async def put(self, instance: Instance) -> None:
        await asyncio.to_thread(_change, self._path, lambda document: self._placed(document, instance))

    async def renew(self, instance: Instance) -> bool:
        there = False

        def again(document: Document) -> Document:
            nonlocal there
            there = any(each.get("id") == instance.id for each in document.get(instance.service, []))
            return self._placed(document, instance) if there else document

        await asyncio.to_thread(_change, self._path, again)
        return there

    async def remove(self, instance: Instance) -> None:
        await asyncio.to_thread(_change, self._path, lambda document: _without(document, instance))

    def _placed(self, document: Document, instance: Instance) -> Document:
        entry = msgspec.to_builtins(instance)
        del entry["service"]
        others = _without(document, instance)
        others.setdefault(instance.service, []).append({**entry, "expires": round(time.time() + self._ttl, 3)})
        return others


def read(path: Path) -> Document:
    """The instances by service, as they are written. Raises InvalidArgument, Unavailable."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise _unreachable(path, error) from error
    if len(raw) > LARGEST:
        raise _invalid(path, f"it is larger than {LARGEST} bytes")
    document = _parsed(path, raw) or {}
    services = document.get("services", {}) if isinstance(document, dict) else None
    if services is None and isinstance(document, dict):
        services = {}
    if not isinstance(services, dict):
        raise _invalid(
            path, "an object with 'services' is wanted", [Violation("", "an object with 'services' is wanted")]
        )
    wrong = [
        Violation(f"/services/{_escape(name)}", "a list of instances is wanted")
        for name, listed in services.items()
        if not isinstance(listed, list)
    ]
    if wrong:
        raise _invalid(path, wrong[0].message, wrong)
    instances_of(services, 0.0, path)
    return services


def instances_of(document: Document, now: float, path: Path | None = None) -> Mapping[str, tuple[Instance, ...]]:
    """The instances by service that have not expired. Raises InvalidArgument with all that is wrong."""
    found: dict[str, tuple[Instance, ...]] = {}
    wrong: list[Violation] = []
    for service, listed in document.items():
        instances = []
        for index, entry in enumerate(listed):
            try:
                made, expires = _instance(service, entry)
            except InvalidArgument as fault:
                pointer = f"/services/{_escape(service)}/{index}"
                wrong += [Violation(pointer + each.pointer, each.message, each.hint) for each in fault.violations]
            else:
                if expires is None or expires > now:
                    instances.append(made)
        found[service] = tuple(instances)
    if wrong:
        raise _invalid(path, f"{wrong[0].pointer}: {wrong[0].message}", wrong)
    return found


def _instance(service: str, entry: Any) -> tuple[Instance, float | None]:
    if not isinstance(entry, dict):
        raise InvalidArgument("", violations=[Violation("", "an object is wanted")])
    entry = dict(entry)
    expires = entry.pop("expires", None)
    if expires is not None and not isinstance(expires, int | float):
        raise InvalidArgument("", violations=[Violation("/expires", "seconds since 1970 are wanted")])
    if unknown := sorted(str(name) for name in set(entry) - set(Instance.__struct_fields__)):
        raise InvalidArgument("", violations=[Violation(f"/{_escape(name)}", "unknown field") for name in unknown])
    try:
        return msgspec.convert({**entry, "service": service}, Instance), expires
    except msgspec.ValidationError as error:
        from headgate.service.types import violations

        raise InvalidArgument("", violations=violations(Instance, {**entry, "service": service})) from error


def _parsed(path: Path, raw: bytes) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(raw) if raw.strip() else {}
        except ValueError as error:
            raise _invalid(path, f"no JSON: {error}") from error
    try:
        import yaml
    except ImportError as error:
        raise missing("PyYAML to read YAML (JSON needs nothing)", "service") from error
    try:
        return yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _invalid(path, f"no YAML{where}: {getattr(error, 'problem', error)}") from error


def _written(path: Path, document: Document) -> bytes:
    whole = {"services": {name: listed for name, listed in sorted(document.items()) if listed}}
    if path.suffix == ".json":
        return json.dumps(whole, indent=2).encode() + b"\n"
    import yaml

    return yaml.safe_dump(whole, sort_keys=False).encode()


def _change(path: Path, change: Callable[[Document], Document]) -> None:
    """Replace the document by what `change` makes of it, one process at a time."""
    try:
        with path.with_name(f".{path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = read(path) if path.exists() else {}
            now = time.time()
            after = change({name: [each for each in listed if _lives(each, now)] for name, listed in before.items()})
            if after != before:
                _replace(path, _written(path, after))
    except OSError as error:
        raise _unreachable(path, error) from error


def _lives(entry: dict[str, Any], now: float) -> bool:
    expires: float | None = entry.get("expires")
    return expires is None or expires > now


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _without(document: Document, instance: Instance) -> Document:
    kept = [each for each in document.get(instance.service, []) if each.get("id") != instance.id]
    return {**document, instance.service: kept}


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreachable(path, error) from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _unreachable(path: Path, error: OSError) -> Unavailable:
    reason = error.strerror or type(error).__name__
    return Unavailable(f"{path}: {reason}", code="registry_unavailable", hint="is the path right, may it be read?")


def _invalid(path: Path | None, message: str, wrong: list[Violation] | None = None) -> InvalidArgument:
    where = f"{path}: " if path else ""
    return InvalidArgument(f"{where}{message}", code="invalid_registry_file", violations=wrong or ())


def _escape(step: object) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")

"""What NATS tools ask of services: `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, of all, of a name, of one instance.

    discovery = Discovery(hosted, queue="headgate")
    await discovery.start(connection)

Each hosted service is one NATS service with an id of its own; each unary or streaming method an endpoint. The metadata
has the hash of the contract (`headgate.contract`). Source: NATS ADR-32, `io.nats.micro.v1`.
"""

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from nats.aio.subscription import Subscription

from headgate.kit.controls.faults import Fault
from headgate.service.host import Hosted
from headgate.service.transports.nats.connection import Connection, Message

_TYPE: Final = "io.nats.micro.v1."
_UNNAMED: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_ERROR: Final = 200


@dataclass(slots=True)
class Tally:
    """How one endpoint fares; times in nanoseconds."""

    name: str
    subject: str
    kind: str
    requests: int = 0
    errors: int = 0
    nanoseconds: int = 0
    last_error: str = ""

    def count(self, nanoseconds: int, fault: Fault | None) -> None:
        """A call is over."""
        self.requests += 1
        self.nanoseconds += nanoseconds
        if fault is not None:
            self.errors += 1
            self.last_error = f"{fault.code}: {fault.message}"[:_LONGEST_ERROR]


@dataclass(slots=True)
class _Service:
    id: str
    name: str
    version: str
    description: str
    metadata: Mapping[str, str]
    tallies: list[Tally] = field(default_factory=list)


class Discovery:
    """See the module. `queue` is the group that the endpoints listen in."""

    def __init__(self, hosted: Iterable[Hosted], *, queue: str, metadata: Mapping[str, str] | None = None) -> None:
        self._queue = queue
        self._services: list[_Service] = []
        self.tallies: dict[str, Tally] = {}
        self._started = datetime.now(UTC)
        self._subscriptions: list[Subscription] = []
        for each in hosted:
            self._add(each, metadata or {})

    def _add(self, hosted: Hosted, metadata: Mapping[str, str]) -> None:
        contract = hosted.contract
        told = {**contract.metadata, **metadata, "headgate.contract": contract.hash, "headgate.name": contract.name}
        name = _UNNAMED.sub("_", contract.name)
        service = _Service(secrets.token_hex(11), name, contract.version, contract.description, told)
        for rpc, endpoint in hosted.endpoints.items():
            tally = Tally(rpc, f"svc.{contract.name}.{rpc}", endpoint.method.kind.value)
            self.tallies[tally.subject] = tally
            service.tallies.append(tally)
        self._services.append(service)

    @property
    def ids(self) -> list[str]:
        """The instance ids, one for each service."""
        return [each.id for each in self._services]

    async def start(self, connection: Connection) -> None:
        """Answer from now on."""
        self._started = datetime.now(UTC)
        for verb, make in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            everyone = partial(self._answer, connection, make, tuple(self._services))
            self._subscriptions.append(await connection.listen(f"$SRV.{verb}", everyone))
            for service in self._services:
                only = partial(self._answer, connection, make, (service,))
                for subject in (f"$SRV.{verb}.{service.name}", f"$SRV.{verb}.{service.name}.{service.id}"):
                    self._subscriptions.append(await connection.listen(subject, only))

    async def stop(self, connection: Connection) -> None:
        """Answer no more."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for each in subscriptions:
            await connection.forget(each)
            connection.settled(each)

    def _answer(self, connection: Connection, make: Any, services: tuple[_Service, ...], message: Message) -> None:
        if message.reply:
            for service in services:
                connection.post(message.reply, json.dumps(make(service)).encode())

    def _ping(self, service: _Service) -> dict[str, Any]:
        return {
            "type": f"{_TYPE}ping_response",
            "name": service.name,
            "id": service.id,
            "version": service.version,
            "metadata": dict(service.metadata),
        }

    def _info(self, service: _Service) -> dict[str, Any]:
        endpoints = [
            {"name": each.name, "subject": each.subject, "queue_group": self._queue, "metadata": {"kind": each.kind}}
            for each in service.tallies
        ]
        return {
            **self._ping(service),
            "type": f"{_TYPE}info_response",
            "description": service.description,
            "endpoints": endpoints,
        }

    def _stats(self, service: _Service) -> dict[str, Any]:
        endpoints = [
            {
                "name": each.name,
                "subject": each.subject,
                "queue_group": self._queue,
                "num_requests": each.requests,
                "num_errors": each.errors,
                "last_error": each.last_error,
                "processing_time": each.nanoseconds,
                "average_processing_time": each.nanoseconds // each.requests if each.requests else 0,
                "data": None,
            }
            for each in service.tallies
        ]
        started = self._started.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
        return {**self._ping(service), "type": f"{_TYPE}stats_response", "started": started, "endpoints": endpoints}

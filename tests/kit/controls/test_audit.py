"""What the audit log says of a call, and of which calls."""

from typing import Any

import pytest

from headgate.kit.controls.audit import Audit
from headgate.kit.controls.call import Call, Control, Pipeline, TraceContext
from headgate.kit.controls.faults import PermissionDenied, Unavailable
from headgate.kit.controls.principal import Certificate, Principal
from headgate.kit.controls.redaction import MASK

SECRET = "sk-proj-abcdefghijklmnop1234"


class Kept:
    """Keeps the records."""

    def __init__(self, *, ready: bool = True) -> None:
        self.records: list[dict[str, Any]] = []
        self._ready = ready

    def write(self, document: dict[str, Any]) -> None:
        """Keep it."""
        self.records.append(document)

    def ready(self) -> bool:
        """As it was told."""
        return self._ready


def ended(method: str = "GET", path: str = "/orders/7", protocol: Any = "http", **values: Any) -> Call:
    """A call that took 1.5 ms."""
    call = Call(protocol, method, path, ((b"authorization", SECRET.encode()),), "10.0.0.7", 100.0)
    call.ended, call.complete, call.status, call.request_id = 100.0015, True, 200, "id-1"
    call.route = "/orders/{id}"
    for name, value in values.items():
        setattr(call, name, value)
    return call


def recorded(call: Call, **options: Any) -> list[dict[str, Any]]:
    """What is written of a call."""
    kept = Kept()
    Audit(kept, **options).settle(call)
    return kept.records


def test_what_a_record_says():
    """A record has who, from where, what, the decision and the time it took, under the names of ECS."""
    call = ended(
        "DELETE", principal=Principal("shop", "mtls", frozenset(("orders:write",)), "acme"), bytes_out=5,
        trace=TraceContext("ab" * 16, "cd" * 8), certificate=Certificate("CN=shop", fingerprint="ff" * 32),
    )  # fmt: skip
    (record,) = recorded(call)
    assert 1_400_000 < record.pop("event.duration") < 1_600_000
    assert record == {
        "event.kind": "event", "event.category": ["api"], "event.type": ["access", "allowed"],
        "event.action": "DELETE /orders/{id}", "event.outcome": "success", "event.code": "OK",
        "network.protocol": "http", "http.request.method": "DELETE", "http.request.id": "id-1",
        "http.request.body.bytes": 0, "http.response.status_code": 200, "http.response.body.bytes": 5,
        "url.path": "/orders/7", "source.ip": "10.0.0.7", "user.id": "shop", "headgate.principal.kind": "mtls",
        "user.roles": ["orders:write"], "organization.id": "acme", "tls.client.subject": "CN=shop",
        "tls.client.hash.sha256": "ff" * 32, "trace.id": "ab" * 16, "span.id": "cd" * 8,
    }  # fmt: skip


async def test_a_refusal_names_its_rule():
    """A refused call is denied, failed, and says which control refused it and why."""
    kept = Kept()

    class Access(Control):
        name = "access"

        def admit(self, call: Call) -> None:
            raise PermissionDenied("no", code="missing_scope")

    pipeline = Pipeline([Access(), Audit(kept)])
    call = ended(status=403, code="PERMISSION_DENIED")
    with pytest.raises(PermissionDenied):
        await pipeline.enter(call)
    pipeline.settle(call, failed=pytest.fail)
    (record,) = kept.records
    assert record["event.type"] == ["access", "denied"]
    assert (record["event.outcome"], record["event.reason"], record["rule.name"]) == (
        "failure", "missing_scope", "access",
    )  # fmt: skip


@pytest.mark.parametrize(("values", "outcome"), [
    ({}, "success"), ({"status": 404}, "failure"), ({"status": 500}, "failure"),
    ({"status": 0, "complete": False}, "unknown"), ({"complete": False}, "unknown"),
])  # fmt: skip
def test_outcomes(values, outcome):
    """An answer is success or failure by its status; a call that broke off is neither."""
    assert recorded(ended(**values))[0]["event.outcome"] == outcome


def test_an_rpc_is_an_action():
    """An RPC's action is its full name."""
    rpc = "/shop.v1.Orders/Get"
    assert recorded(ended("POST", rpc, "grpc", route=rpc))[0]["event.action"] == rpc
    assert recorded(ended("POST", "/x/Y", "grpc", route="", status=404))[0]["event.action"] == "rpc"
    assert recorded(ended(route=""))[0]["event.action"] == "GET"


def test_a_client_without_an_address():
    """A client that has no IP address is a source of another kind."""
    assert recorded(ended(client="a-socket"))[0]["source.address"] == "a-socket"
    assert "source.ip" not in recorded(ended(client=""))[0]
    assert recorded(ended(client="2001:db8::1"))[0]["source.ip"] == "2001:db8::1"


def test_only_what_is_notable():
    """When told to, only refusals, failures and changes are recorded; every RPC may be a change."""
    told = [
        bool(recorded(call, calls="notable"))
        for call in (
            ended(), ended("HEAD"), ended("POST"), ended("DELETE"), ended(status=404), ended(complete=False),
            ended("POST", protocol="grpc"),
        )
    ]  # fmt: skip
    assert told == [False, False, True, True, True, True, True]


def test_probes_are_not_recorded():
    """Probes that were answered, ready or not, are no events; one that was refused is."""
    assert not recorded(ended(path="/health"))
    assert not recorded(ended(path="/ready", status=503, refused_by="probes"))
    assert recorded(ended(path="/metrics", status=401))


@pytest.mark.parametrize("values", [
    {"path": f"/reset/{SECRET}"}, {"method": SECRET}, {"request_id": SECRET}, {"principal": Principal(SECRET)},
    {"path": "/" + "x" * 9_000},
])  # fmt: skip
def test_a_record_holds_no_credentials(values):
    """What a caller can choose is masked and cut, and headers are not in a record."""
    (record,) = recorded(ended(**values))
    assert SECRET not in str(record)
    assert MASK in str(record) or len(str(record)) < 6_000


async def test_what_cannot_be_recorded_can_be_refused():
    """When records are required, calls are refused with 503 while they cannot be written; probes are not."""
    lenient, strict = Pipeline([Audit(Kept(ready=False))]), Pipeline([Audit(Kept(ready=False), required=True)])
    assert await lenient.enter(ended()) is None
    assert await strict.enter(ended(path="/health")) is None
    assert await Pipeline([Audit(Kept(), required=True)]).enter(ended()) is None
    with pytest.raises(Unavailable) as caught:
        await strict.enter(ended())
    assert (caught.value.code, caught.value.retry_after) == ("audit_unavailable", 5.0)

"""The phases a call goes through."""

import asyncio
from typing import ClassVar

import pytest

from headgate.kit.controls.call import Answer, Call, Control, MutableHeaders, Pipeline, Protocol
from headgate.kit.controls.faults import NotFound, PermissionDenied
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from tests.kit.controls.calls import call_of


class Recorder(Control):
    name: ClassVar[str] = "recorder"

    def __init__(self, seen: list[str], label: str) -> None:
        self.seen, self.label = seen, label

    def identify(self, call: Call) -> None:
        self.seen.append(f"identify {self.label}")

    def admit(self, call: Call) -> None:
        self.seen.append(f"admit {self.label}")

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        headers.append((b"x-seen", self.label.encode()))

    def settle(self, call: Call) -> None:
        self.seen.append(f"settle {self.label}")


class Refuser(Control):
    name: ClassVar[str] = "refuser"

    def admit(self, call: Call) -> None:
        raise PermissionDenied("no")


class Waiter(Control):
    name: ClassVar[str] = "waiter"

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer

    async def admit(self, call: Call) -> Answer | None:
        await asyncio.sleep(0)
        return self.answer


class SocketsOnly(Control):
    name: ClassVar[str] = "sockets"
    protocols: ClassVar[frozenset[Protocol]] = frozenset(("websocket",))

    def admit(self, call: Call) -> None:
        raise NotFound("no")


async def test_every_control_identifies_before_any_admits() -> None:
    """Phases come one after the other, controls in the order of the table."""
    seen: list[str] = []
    pipeline = Pipeline([Recorder(seen, "a"), Recorder(seen, "b")])
    assert await pipeline.enter(call_of()) is None
    assert seen == ["identify a", "identify b", "admit a", "admit b"]


async def test_a_refusal_names_its_control() -> None:
    """The call remembers the fault and who refused, its caller is told so, and later controls are not asked."""
    seen: list[str] = []
    call = call_of()
    with pytest.raises(PermissionDenied) as refused:
        await Pipeline([Refuser(), Recorder(seen, "later")]).enter(call)
    assert call.fault is refused.value
    assert refused.value.refused
    assert call.refused_by == "refuser"
    assert seen == ["identify later"]


@pytest.mark.parametrize("answer", [None, Answer(204)])
async def test_a_control_may_wait_for_its_verdict(answer: Answer | None) -> None:
    """An awaited verdict counts like a prompt one: None goes on, an answer ends it."""
    seen: list[str] = []
    call = call_of()
    assert await Pipeline([Waiter(answer), Recorder(seen, "later")]).enter(call) is answer
    assert ("admit later" in seen) is (answer is None)
    assert call.refused_by == ("waiter" if answer else "")


async def test_a_control_is_asked_only_about_its_protocols() -> None:
    """One pipeline may serve several protocols; a control of one of them leaves the others alone."""
    pipeline = Pipeline([SocketsOnly()], frozenset(("http", "websocket")))
    assert await pipeline.enter(call_of(protocol="http")) is None
    with pytest.raises(NotFound):
        await pipeline.enter(call_of(protocol="websocket"))
    assert await Pipeline([SocketsOnly()], frozenset(("grpc",))).enter(call_of(protocol="grpc")) is None


def test_each_control_settles_whatever_another_raises() -> None:
    """One control's defect at the end keeps no other from letting go."""

    class Broken(Control):
        def settle(self, call: Call) -> None:
            raise ZeroDivisionError

    seen: list[str] = []
    failed: list[BaseException] = []
    Pipeline([Broken(), Recorder(seen, "after")]).settle(call_of(), failed.append)
    assert seen == ["settle after"]
    assert [type(each) for each in failed] == [ZeroDivisionError]


def test_calls_share_nothing() -> None:
    """What a control keeps on one call is not seen on another."""
    one, other = call_of(), call_of()
    one.keep("slot", 1)
    assert (one.kept("slot"), other.kept("slot")) == (1, None)


def test_who_takes_part_where_there_is_no_http() -> None:
    """Over sockets, NATS and within the process all take part but those that read or write what only HTTP has."""
    settings = HardeningSettings(
        trusted_proxies=("10.0.0.0/8",),
        trusted_hosts=("api.example",),
        cors_allowed_origins=("https://shop.example",),
        api_key="a=" + "k" * 20,
        audit_log="stderr",
    )
    kit = Kit(settings)
    names = {each.name for each in kit.controls}
    for protocol in ("socket", "nats", "local"):
        taking_part = {each.name for each in kit.controls if protocol in each.protocols}
        assert {"measure", "request_ids", "deadline", "rate_limit", "concurrency", "identity", "access"} <= taking_part
        assert {"access_log", "audit"} <= taking_part
        assert names - taking_part == {"proxies", "probes", "hosts", "docs", "cors", "security_headers"}

"""Rules that hold for every application, whatever its services do."""

import types
from typing import Any

import msgspec

from headgate.kit.controls.faults import (
    Fault,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)
from headgate.service.client import Unreachable
from headgate.service.host import Hosted
from headgate.service.invoke import Endpoint
from headgate.service.method import Kind
from headgate.service.service import Service, rpc
from headgate.service.types import convert
from headgate.testing.service_conformance.faults import raised_by
from headgate.testing.service_conformance.site import UNCHECKED, Site
from headgate.testing.service_conformance.suite import expect, rule, same

JUNK = b"\xc1\x00\xff not a request"
"""What is neither JSON nor MessagePack."""


@rule("any")
async def unknown_methods_are_told(site: Site) -> None:
    """A method that a service does not have is NotFound or Unimplemented; strangers may be told to say who they are."""
    for hosted in _called(site):
        async with site.client(ghost_of(hosted)) as stub:
            fault = await raised_by(stub.not_there())  # type: ignore[attr-defined]
        if isinstance(fault, Unreachable) and site.way.wire == "nats":
            continue  # NATS itself says that nobody listens to that subject
        expect(isinstance(fault, NotFound | Unimplemented | Unauthenticated), f"{type(fault).__name__}: {fault}")
        if not isinstance(fault, Unauthenticated):
            same(fault.code, "unknown_method" if isinstance(fault, NotFound) else "no_such_method", "the code")


@rule("any")
async def strangers_are_refused(site: Site) -> None:
    """No method with a guard answers somebody unknown."""
    for hosted, endpoint in _endpoints(site):
        guard, method = endpoint.method.guard, endpoint.method
        if guard is None or guard.public or method.kind.streams_in:
            continue
        fault = await _asked(site, hosted, endpoint)
        expect(fault is not None, f"{endpoint.path} answered a stranger")
        expect(
            isinstance(fault, Unauthenticated | PermissionDenied | InvalidArgument),
            f"{endpoint.path}: {type(fault).__name__}: {fault}",
        )


@rule("any")
async def contracts_are_what_is_served(site: Site) -> None:
    """The contract of each service lists what is served, and is the same each time it is made."""
    for hosted in site.hosted:
        same(set(hosted.contract.methods), set(hosted.endpoints), "the methods")
        made = type(hosted.service).contract()
        same(made.hash, hosted.contract.hash, "the hash")
        msgspec.json.encode(hosted.contract.document)


@rule("any")
async def junk_is_refused(site: Site) -> None:
    """Bytes that are no request are the caller's fault, for every method, and never a defect."""
    import httpx

    if site.way.wire != "http":
        return
    async with httpx.AsyncClient(base_url=site.running.url) as http:
        for _, endpoint in _endpoints(site):
            streamed = endpoint.method.kind.streams_in
            form = "application/x-ndjson" if streamed else f"application/{site.way.codec}"
            answer = await http.post(endpoint.path, content=JUNK, headers={"content-type": form})
            told = answer.text[:200]
            if endpoint.method.kind.streams_out and answer.status_code == 200:
                expect("INTERNAL" not in told, f"{endpoint.path}: {told}")
            else:
                expect(400 <= answer.status_code < 500, f"{endpoint.path}: {answer.status_code} {told}")


def ghost_of(hosted: Hosted) -> type[Service]:
    """A class of the same name and title, with a method that the service does not have."""

    @rpc
    async def not_there(self: Service) -> None:
        """It is not."""

    def fill(body: dict[str, Any]) -> None:
        body.update(not_there=not_there, __module__=__name__, __doc__="Not what is served.")

    contract = hosted.contract
    made: type[Service] = types.new_class(
        contract.title, (Service,), {"name": contract.name, "version": contract.version, "public": True}, fill
    )
    return made


async def _asked(site: Site, hosted: Hosted, endpoint: Endpoint) -> Fault | None:
    """What a stranger is told; None for an answer."""
    method = endpoint.method
    try:
        request = convert({}, method.request)
    except msgspec.ValidationError:
        return Unauthenticated("it could not be asked")  # it takes what only its owner can make up
    arguments: tuple[Any, ...] = (
        (request,) if method.arguments is None else tuple(getattr(request, name) for name in method.arguments)
    )
    async with site.client(type(hosted.service), policy=UNCHECKED) as stub:
        called = getattr(stub, method.name)(*arguments)
        try:
            if method.kind is Kind.SERVER_STREAM:
                await anext(called, None)
                await called.aclose()
            else:
                await called
        except Fault as fault:
            return fault
    return None


def _called(site: Site) -> list[Hosted]:
    return [each for each in site.hosted if each.endpoints]


def _endpoints(site: Site) -> list[tuple[Hosted, Endpoint]]:
    return [(each, endpoint) for each in site.hosted for endpoint in each.endpoints.values()]

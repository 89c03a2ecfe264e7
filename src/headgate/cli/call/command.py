"""`headgate call`: the verb."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headgate.cli.failures import FAILED, REFUSED, UNREACHABLE, Failure
from headgate.cli.options import Options
from headgate.cli.output import text

if TYPE_CHECKING:
    from headgate.cli.call.place import Place
    from headgate.kit.controls.faults import Fault

LARGEST_INPUT: Final = 64 * 1024 * 1024
_LONGEST: Final = 200
_FAILURES: Final = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "CANCELLED"))


@click.command(
    epilog="""\b
Examples:
  headgate call hello/Hello '{"name": "Ada"}'
  headgate call orders/place @order.json --token-file token --timeout 2
  headgate call orders/Track '{"id": "o-1"}' --wire socket
  printf '{"sku": "tea"}\\n{"sku": "jam"}\\n' | headgate call orders/Upload -
  headgate call orders.Orders/Place '{}' --address http://10.0.0.1:8080

Exit codes: 0 answered, 1 the service failed or took too long, 2 wrong usage, 3 the service refused, 4 not reachable."""
)
@click.argument("target", metavar="SERVICE/METHOD")
@click.argument("request_", metavar="[JSON|@FILE|-]", default="")
@click.option("--address", metavar="URL", help="Call this instance: http, https, grpc, grpcs, ws, wss or nats.")
@click.option(
    "--registry",
    envvar="REGISTRY",
    show_envvar=True,
    metavar="URL",
    help="Find an instance here; unless given, in the registry of the `headgate run` of this directory.",
)
@click.option(
    "--wire",
    type=click.Choice(["http", "grpc", "socket", "nats"]),
    help="Call over this; unless given, as the address says, or over HTTP.",
)
@click.option("--header", "-H", "headers", metavar="NAME:VALUE", multiple=True, help="Send it; may be given again.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0.001, 86_400),
    default=30.0,
    show_default=True,
    help="Longest it may take, streams included; the service is told.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Send the token in this file as Authorization: Bearer.",
)
@click.option("--idempotency-key", metavar="KEY", default="", help="Send it: done once however often it is sent.")
@click.pass_obj
def call(
    options: Options,
    target: str,
    request_: str,
    address: str | None,
    registry: str | None,
    wire: str | None,
    headers: tuple[str, ...],
    timeout: float,
    token_file: Path | None,
    idempotency_key: str,
) -> None:
    """Call a method of a service that runs somewhere.

    What the method takes and gives is learnt from the contract that the instance publishes, over gRPC from its
    reflection. The request is JSON; without one it is {}. To a method that takes a stream, an array, or with - or a
    file each line, is sent message by message; a stream that comes back is printed as it comes, one JSON document a
    line.
    """
    from headgate.cli.call.place import find, registry_here
    from headgate.kit.controls.faults import Fault

    sent = _headers(headers, token_file, idempotency_key)

    async def calling() -> None:
        place = await find(target, address=address or "", registry=_registry(registry, address), wire=wire or "")
        await _call(place, request_, sent, timeout, options)

    def _registry(given: str | None, at: str | None) -> str:
        return "" if at else given or registry_here()

    try:
        asyncio.run(calling())
    except Fault as fault:
        raise failure_of(fault) from fault


async def _call(place: "Place", request: str, headers: Mapping[str, str], timeout: float, options: Options) -> None:
    from headgate.service.client.wires import Outgoing

    wire = _opened(place, headers)
    out = Outgoing(place.method, place.path, dict(headers), asyncio.get_running_loop().time() + timeout)
    kind = place.method.kind
    message: Any = _messages(request) if kind.streams_in else _message(request)
    try:
        async with asyncio.timeout(timeout + 1):  # the wire ends it in time; this is for one that hangs
            if not kind.streams_in and not kind.streams_out:
                _print(await wire.unary(out, message), options)
                return
            async for each in wire.stream(out, message):
                if kind.streams_out:
                    click.echo(json.dumps(_shown(each), ensure_ascii=False))
                    sys.stdout.flush()
                else:
                    _print(each, options)
    except TimeoutError:
        raise Failure(f"no answer within {timeout:g} s", hint="allow more with --timeout") from None
    finally:
        await wire.aclose()


def _opened(place: "Place", headers: Mapping[str, str]) -> Any:
    from headgate.service.client.options import ClientPolicy
    from headgate.service.codecs import JSON

    if place.wire == "grpc":
        from headgate.cli.call.reflected import ReflectedWire

        return ReflectedWire(place.address, wraps_request=place.wraps_request, wraps_response=place.wraps_response)
    if place.wire == "socket":
        from headgate.service.transports.socket.client import SocketClient

        return SocketClient(place.address, JSON, headers=headers)
    if place.wire == "nats":
        from headgate.service.transports.nats.client import NatsClient

        return NatsClient(place.address, JSON, service=place.service)
    from headgate.service.client.wires.http import HttpWire

    return HttpWire(place.address, JSON, ClientPolicy())


def failure_of(fault: "Fault") -> Failure:
    """How a fault is shown, and the exit code it means."""
    from headgate.service.faults import document_of

    code = UNREACHABLE if fault.kind == "UNAVAILABLE" else FAILED if fault.kind in _FAILURES else REFUSED
    if fault.code in ("invalid_target", "no_such_method", "no_such_service", "invalid_address", "invalid_registry_url"):
        code = 2
    lines = [f"  {fault.kind} {fault.code}" + (f", again after {fault.retry_after:g} s" if fault.retry_after else "")]
    if fault.details:
        lines.append("  details " + json.dumps(_shown(fault.details), ensure_ascii=False))
    if fault.kind == "UNAVAILABLE" and fault.internal:
        lines.append(f"  {fault.internal.splitlines()[0][:_LONGEST]}")
    return Failure(
        fault.message,
        exit_code=code,
        hint=fault.hint,
        violations=fault.violations,
        problem=document_of(fault),
        details="\n".join(lines),
    )


def _headers(given: tuple[str, ...], token_file: Path | None, key: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        name, separator, value = each.partition(":")
        if not separator or not name.strip() or not (name + value).isascii() or not each.isprintable():
            raise click.UsageError(f"'{name}' is no header; one is NAME:VALUE")
        found[name.strip().lower()] = value.strip()
    if token_file is not None:
        token = token_file.read_text(encoding="ascii", errors="replace").strip()
        if not token or not token.isprintable() or not token.isascii():
            raise Failure(f"{token_file} holds no token")
        found["authorization"] = f"Bearer {token}"
    if key:
        found["idempotency-key"] = key
    return found


def _message(given: str) -> Any:
    if given == "-":
        return _json(sys.stdin.buffer.read(LARGEST_INPUT), "standard input")
    if given.startswith("@"):
        return _json(Path(given[1:]).read_bytes(), given[1:])
    return _json(given.encode(), "the request") if given else {}


async def _messages(given: str) -> AsyncIterator[Any]:
    """Each message of a stream: the items of an array, or the lines of standard input or a file as they come."""
    if given == "-":
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            if line.strip():
                yield _json(line, "standard input")
        return
    whole = Path(given[1:]).read_bytes() if given.startswith("@") else given.encode()  # noqa: ASYNC240 - nothing waits
    stripped = whole.strip()
    if given.startswith("@") and not stripped.startswith(b"["):
        for line in filter(None, map(bytes.strip, whole.splitlines())):
            yield _json(line, given[1:])
        return
    value = _json(stripped or b"[]", "the request")
    for each in value if isinstance(value, list) else [value]:
        yield each


def _json(data: bytes, where: str) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse) if data.strip() else {}
    except ValueError as error:
        raise click.UsageError(f"{where} is no JSON: {error}") from None


def _refuse(constant: str) -> None:
    """Python reads NaN and Infinity, which JSON has not."""
    raise ValueError(f"{constant} is no number")


def _print(value: Any, options: Options) -> None:
    if value is not None:
        click.echo(text(_shown(value), "yaml" if options.output == "yaml" else "json"), nl=False)


def _shown(value: Any) -> Any:
    from headgate.service.types import plain

    return plain(value)

"""A client of gRPC-Web and of Connect's streams, as small as can be."""

import base64
import gzip
import json
from typing import Any
from urllib.parse import unquote

from headgate.kit.grpc.frames import frame
from tests.kit.grpc.echo import Reply

PROTO = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"


def parts(data: bytes) -> list[tuple[int, bytes]]:
    """Flags and payload of each message of a body."""
    found = []
    while data:
        size = int.from_bytes(data[1:5], "big")
        found.append((data[0], gzip.decompress(data[5 : 5 + size]) if data[0] & 1 else data[5 : 5 + size]))
        data = data[5 + size :]
    return found


def read_web(data: bytes) -> tuple[list[Any], dict[str, str]]:
    """Replies and trailers of a gRPC-Web body."""
    *messages, (flags, trailers) = parts(data)
    assert flags & 0x80
    pairs = (line.partition(":") for line in trailers.decode().splitlines())
    lines = {name: value.strip() for name, _, value in pairs}
    if "grpc-message" in lines:
        lines["grpc-message"] = unquote(lines["grpc-message"])
    return [Reply.FromString(payload) for _, payload in messages], lines


async def web(client: Any, path: str, *asks: Any, kind: str = PROTO, headers: Any = None, packed: bool = False) -> Any:
    """Call over gRPC-Web: the response, the replies and the trailers."""
    content = b"".join(
        frame(1, gzip.compress(ask.SerializeToString())) if packed else frame(0, ask.SerializeToString())
        for ask in asks
    )
    text = kind.startswith("application/grpc-web-text")
    response = await client.post(
        path,
        content=base64.b64encode(content) if text else content,
        headers={"content-type": kind, "accept": kind, "x-grpc-web": "1", **(headers or {})},
    )
    if not response.content:
        return response, [], dict(response.headers)
    if not response.headers["content-type"].startswith("application/grpc-web-text"):
        return response, *read_web(response.content)
    data, rest = b"", response.content
    while rest:  # each flush is padded for itself
        end = rest.find(b"=")
        end = len(rest) if end < 0 else end - end % 4 + 4
        data, rest = data + base64.b64decode(rest[:end]), rest[end:]
    return response, *read_web(data)


async def stream(client: Any, path: str, *asks: Any, form: str = "json", headers: Any = None) -> Any:
    """Call a streaming method over Connect: the response, the replies as documents, and the end."""
    encoded = [json.dumps(ask).encode() if form == "json" else ask.SerializeToString() for ask in asks]
    response = await client.post(
        path,
        content=b"".join(frame(0, each) for each in encoded),
        headers={"content-type": f"application/connect+{form}", "connect-protocol-version": "1", **(headers or {})},
    )
    if response.status_code != 200:
        return response, [], {}
    *messages, (flags, end) = parts(response.content)
    assert flags & 0x02
    read = json.loads if form == "json" else Reply.FromString
    return response, [read(payload) for _, payload in messages], json.loads(end)

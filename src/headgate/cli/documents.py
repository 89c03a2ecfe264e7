"""Reading a document: a file, standard input, or a URL on this machine; gzip is undone."""

import gzip
import sys
import zlib
from pathlib import Path

from headgate.cli.failures import FAILED, USAGE, Failure
from headgate.cli.options import is_loopback

LARGEST = 256 << 20
"""Bytes of a document after unpacking; the API has a limit of its own."""

_GZIP = b"\x1f\x8b"


def read(source: str) -> bytes:
    """Return the bytes. Raises Failure."""
    if source == "-":
        content = sys.stdin.buffer.read(LARGEST + 1)
    elif is_url(source):
        content = _fetch(source)
    else:
        content = _read_file(source)
    if content.startswith(_GZIP):
        content = _unpack(content, source)
    if len(content) > LARGEST:
        raise Failure(f"{source} is larger than {LARGEST >> 20} MiB", exit_code=USAGE)
    if not content.strip():
        raise Failure(f"{source} is empty", exit_code=USAGE)
    return content


def is_url(source: str) -> bool:
    """Whether a source is to be fetched."""
    return source.startswith(("http://", "https://"))


def _read_file(source: str) -> bytes:
    path = Path(source)
    if not path.is_file():
        raise Failure(f"there is no file {source}", exit_code=USAGE)
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


def _unpack(content: bytes, source: str) -> bytes:
    import io

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Failure(f"{source} is not gzip: {error}", exit_code=USAGE) from None


def _fetch(url: str) -> bytes:
    if not is_loopback(url):
        raise Failure(
            f"{url} is not on this machine, and documents are not fetched from elsewhere",
            exit_code=USAGE,
            hint=f"fetch it yourself: curl -sSf {url} | headgate import openapi - --name NAME",
        )
    import httpx

    try:
        with httpx.stream("GET", url, timeout=30.0, trust_env=False, follow_redirects=False) as answer:
            if answer.status_code != httpx.codes.OK:
                raise Failure(f"{url} answered {answer.status_code}", exit_code=FAILED)
            content = b""
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > LARGEST:
                    break
            return content
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failure(f"{url} cannot be fetched: {error}", exit_code=FAILED) from None

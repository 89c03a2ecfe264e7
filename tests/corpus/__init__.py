"""The OpenAPI documents that tests import; see README.md for where they are from."""

import gzip
from pathlib import Path

ROOT = Path(__file__).parent

DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.name.endswith((".json", ".json.gz", ".yaml"))
)
"""Every document, by its path below this directory."""


def read(name: str) -> bytes:
    """The text of a document, unzipped."""
    raw = (ROOT / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw

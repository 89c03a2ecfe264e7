"""The key of a cached call: everything that its answer depends on, under one hash.

    key = cache_key("translate", {"text": "hello", "to": "French"}, tenant=team, schema=codec.schema, version="3")
    "translate:9f86d081884c7d65..."

The hash is the whole SHA-256 (FIPS 180-4) of canonical JSON. Arguments are the same when they are the same
JSON: the order of keys and members of sets does not matter, a list and a tuple do not differ.
"""

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from headgate.kit.controls.faults import InvalidArgument

NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_AS_TEXT: Final = (UUID, Decimal, PurePath)
_AS_ISO: Final = (datetime, date, time)


def cache_key(namespace: str, arguments: Any, *, tenant: str, schema: str = "", version: str = "") -> str:
    """`<namespace>:<sha256>`. Raises InvalidArgument (uncacheable_arguments) for what has no JSON form.

    `tenant` is who may see the answer, "" when everybody may. `version` is of whatever makes the answer
    (a model, a prompt), `schema` of its form.
    """
    check_namespace(namespace)
    whole = {"arguments": arguments, "namespace": namespace, "schema": schema, "tenant": tenant, "version": version}
    return f"{namespace}:{hashlib.sha256(canonical_json(whole)).hexdigest()}"


def check_namespace(namespace: str) -> None:
    """Raise InvalidArgument unless it can be the first part of a key."""
    if not NAMESPACE.fullmatch(namespace):
        raise InvalidArgument(
            f"'{namespace[:80]}' cannot name a part of the cache",
            hint="1 to 64 letters, digits, dots, dashes and underscores",
        )


def canonical_json(value: Any) -> bytes:
    """JSON that is the same for the same value, in every process."""
    try:
        text = _ENCODE(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            "these arguments cannot be told apart by a cache: they have no form in JSON",
            code="uncacheable_arguments",
            hint="use plain values, dataclasses or pydantic models",
            internal=str(error),
        ) from error
    return text.encode("ascii")


def _plain(value: Any) -> Any:
    """The JSON types of one value that json does not know."""
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields} | (value.model_extra or {})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return {"$set": sorted(canonical_json(member).decode() for member in value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _AS_ISO):
        return value.isoformat()
    if isinstance(value, timedelta):
        return {"$seconds": value / timedelta(microseconds=1)}
    if isinstance(value, _AS_TEXT):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODE: Final = json.JSONEncoder(default=_plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode

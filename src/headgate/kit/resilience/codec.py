"""What caches keep: bytes, made of a value and made into a fresh value again. JSON, never pickle.

codec = codec_of(Translation)           # pydantic models, dataclasses, list[int], anything pydantic knows
codec.decode(codec.encode(translation)) == translation
"""

import hashlib
import json
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, from_json

from headgate.kit.controls.faults import Internal

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns values into bytes and back; `schema` changes when the form of the bytes does."""

    schema: str

    def encode(self, value: T) -> bytes:
        """The bytes of a value. Raises Internal (uncacheable_value) when it has none."""

    def decode(self, data: bytes) -> T:
        """A fresh value, which nobody else holds. Raises ValueError when the bytes are not of this codec."""


class PlainJson:
    """JSON without a type: a tuple comes back as a list, a number used as a key as text."""

    schema = "json"

    def encode(self, value: Any) -> bytes:
        """Encode what JSON has a form for."""
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise _uncacheable(value, error) from error

    def decode(self, data: bytes) -> Any:
        """Decode JSON."""
        return from_json(data)


class Raw:
    """Bytes as they are."""

    schema = "bytes"

    def encode(self, value: bytes) -> bytes:
        """Take bytes as they are."""
        if not isinstance(value, bytes):
            raise _uncacheable(value, TypeError("not bytes"))
        return value

    def decode(self, data: bytes) -> bytes:
        """Give them back."""
        return data


class Typed(Generic[T]):
    """JSON of a type that pydantic knows; what comes back is checked against the type."""

    def __init__(self, kind: Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        described = json.dumps(self._adapter.json_schema(mode="validation"), sort_keys=True)
        self.schema = hashlib.sha256(described.encode()).hexdigest()

    def encode(self, value: T) -> bytes:
        """Encode a value of the type."""
        try:
            return self._adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
        except (PydanticSerializationError, ValueError) as error:
            raise _uncacheable(value, error) from error

    def decode(self, data: bytes) -> T:
        """Decode and check a value of the type."""
        return self._adapter.validate_json(data)


JSON: Final = PlainJson()
BYTES: Final = Raw()


def codec_of(kind: Any) -> Codec[Any]:
    """The codec for a type: `bytes` as they are, `Any` and None (no annotation) as plain JSON."""
    if kind is bytes:
        return BYTES
    if kind is None or kind is Any:
        return JSON
    return Typed(kind)


def _uncacheable(value: object, error: Exception) -> Internal:
    return Internal(
        "something went wrong here",
        code="uncacheable_value",
        hint="the request id finds the reason in the server's log",
        internal=f"a {type(value).__name__} cannot be kept in this cache: {type(error).__name__}; "
        "give the cache the type of the value, or return JSON",
    )

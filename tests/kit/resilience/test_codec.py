"""What caches keep: bytes of values."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field

from headgate.kit.controls.faults import Internal
from headgate.kit.resilience.codec import BYTES, JSON, codec_of


class Character(BaseModel):
    name: str
    back_story: str = Field(alias="backStory")
    tags: tuple[str, ...] = ()


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Character, Character(name="Luna", backStory="long", tags=("a",))),
        (Point, Point(1, 2)),
        (list[Point], [Point(1, 2)]),
        (str | None, None),
        (Any, {"a": [1, 2.5, None, "ü", "\U0001f600"]}),
        (None, ["x"]),
        (bytes, b"\x00\xff"),
    ],
)
def test_values_come_back(kind, value):
    """A value that was encoded is decoded to an equal one of the same type."""
    codec = codec_of(kind)
    decoded = codec.decode(codec.encode(value))
    assert decoded == value
    assert type(decoded) is type(value)


def test_d12_values_come_back_fresh():
    """Two decodings of the same bytes share nothing that can be changed."""
    data = JSON.encode({"a": [1]})
    first, second = JSON.decode(data), JSON.decode(data)
    first["a"].append(2)
    assert second == {"a": [1]}


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (JSON, object()),
        (JSON, float("nan")),
        (JSON, "\ud800"),
        (BYTES, "text"),
        (codec_of(int), "seven"),
        (codec_of(Character), {"name": "no model"}),
    ],
)
def test_what_has_no_form_is_refused(codec, value):
    """A value the codec has no form for is a defect of ours, and its content is not in the message."""
    with pytest.raises(Internal) as refused:
        codec.encode(value)
    assert refused.value.code == "uncacheable_value"
    assert "seven" not in str(refused.value) + refused.value.internal


def test_never_pickle():
    """Bytes that are no JSON of the type are refused."""
    for codec in (JSON, codec_of(Character), codec_of(int)):
        with pytest.raises(ValueError):
            codec.decode(b"\x80\x04K\x07.")


def test_the_schema_follows_the_type():
    """Different types have different schemas, the same type the same."""
    schemas = {codec_of(kind).schema for kind in (Any, bytes, int, str, Point, Character)}
    assert len(schemas) == 6
    assert codec_of(Point).schema == codec_of(Point).schema

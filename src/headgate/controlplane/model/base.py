"""What every specification shares: strict fields, names, durations, and headers.

Durations are whole milliseconds in fields named `*_ms`. Names of resources are unique per team and kind.
"""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Spec(BaseModel):
    """A document a user writes: unknown fields are refused, nothing is coerced, nothing can be mutated."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$"
Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN),
    Field(description="1 to 100 of a-z, 0-9, '.', '_' and '-'; letter or digit at both ends."),
]
RouteName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._~:-]{0,198}[A-Za-z0-9._~-])?$"),
    Field(description="1 to 200 of A-Z, a-z, 0-9 and '._~:-'."),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Percent = Annotated[int, Field(ge=0, le=100)]
Weight = Annotated[int, Field(ge=0, le=10_000)]

_HOSTNAME = re.compile(
    r"^(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$"
)


def is_ip(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host(text: str) -> str:
    if is_ip(text) or (_HOSTNAME.match(text) and not re.fullmatch(r"[0-9.]+", text)):
        return text
    raise ValueError("must be an IP address or a DNS name")


def _host_or_nothing(text: str) -> str:
    return _host(text) if text else text


def _ip(text: str) -> str:
    if is_ip(text):
        return text
    raise ValueError("must be an IPv4 or IPv6 address")


Host = Annotated[str, AfterValidator(_host), Field(description="An IP address or a DNS name (RFC 1123; '_' allowed).")]
HostOrNothing = Annotated[str, AfterValidator(_host_or_nothing), Field(description="A host, or empty.")]
IpAddress = Annotated[str, AfterValidator(_ip), Field(description="An IPv4 or IPv6 address.")]

_HEADER_NAME = re.compile(r"^:?[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")


def _header_name(text: str) -> str:
    if _HEADER_NAME.match(text):
        return text
    raise ValueError("must be a header name (RFC 9110 token)")


def _plain_header_name(text: str) -> str:
    if text.startswith(":") or text.lower() == "host":
        raise ValueError("must not be a pseudo-header or 'host'; use the rewrite fields instead")
    return _header_name(text)


def _header_value(text: str) -> str:
    if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in text):
        raise ValueError("must not hold control characters")
    return text


def _text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold NUL")
    return text


def _line(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must not hold control characters")
    return text


Text = Annotated[str, AfterValidator(_text)]
Line = Annotated[str, AfterValidator(_line)]

HeaderName = Annotated[
    str, AfterValidator(_header_name), Field(description="A header name; ':' starts a pseudo-header.")
]
PlainHeaderName = Annotated[str, AfterValidator(_plain_header_name), Field(description="A header name.")]
HeaderValue = Annotated[str, Field(max_length=4096), AfterValidator(_header_value)]


class HeaderValueOption(Spec):
    """A header to set, and what to do when it is there already."""

    name: PlainHeaderName
    value: HeaderValue
    """May hold Envoy's substitution commands, such as `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`."""
    action: Annotated[str, StringConstraints(pattern=r"^(overwrite|append|add_if_absent)$")] = "overwrite"
    """`overwrite` (default), `append`, or `add_if_absent`."""


class HeaderChanges(Spec):
    """Headers to set and to remove. Where several levels set one, the route wins over its virtual host, and
    that over the route config.
    """  # noqa: D205

    set: list[HeaderValueOption] = Field(default=[], max_length=128)
    remove: list[PlainHeaderName] = Field(default=[], max_length=128)

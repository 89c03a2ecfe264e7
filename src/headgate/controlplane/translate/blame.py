"""Whose fault is a refusal? From Envoy's words about a resource to the field the user wrote.

Envoy says what is wrong in three ways: as the path of a proto field (its constraints), as a text in which the
culprit is quoted (a format string, an expression, a domain), or in words alone. The first is followed, the
second is looked for in the resource, and for the third there is a table.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import Message

from headgate.controlplane.model.rows import RowKind
from headgate.controlplane.translate.pointers import locate
from headgate.controlplane.translate.resource import Resource
from headgate.controlplane.translate.tree import Found, decoded, walk

_LONGEST = 1000


class Blame(NamedTuple):
    """Where a refusal leads: a row, a JSON pointer into its document ("" for the whole), and why.

    A resource that is not made of a user's row has kind and name "". The explanation is Envoy's reason
    without the copy of the resource it may have held, and so without its secrets.
    """

    kind: RowKind | str
    name: str
    pointer: str
    explanation: str


def blame(resource: Resource, message: str) -> Blame:
    """Find what `resource` was refused for, from the text of the refusal."""
    reason = explained(_about(resource.name, message))
    if resource.source is None:
        return Blame("", "", "", reason)
    body = decoded(resource.type_url, resource.body)
    if body is None:
        return Blame(*resource.source, "", reason)
    return Blame(*locate(resource.source, body, proto_path(body, reason)), reason)


def explained(message: str) -> str:
    """Return Envoy's reason on one line, without the resource's text form and other wrapping."""
    text = re.sub(r"^Error adding/updating \w+\(s\) \S+?: ", "", message.strip())
    constraint = re.search(r"Proto constraint validation failed \((.*)\)", text, re.DOTALL)
    if constraint:
        text = constraint[1]
    # What follows is the resource itself, keys and all.
    text = re.sub(r"(: |\s)?goo\.gle/debug.*", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text).strip()[:_LONGEST] or "Envoy gave no reason"


def _about(name: str, message: str) -> str:
    """Return what a message about several clusters or listeners says of one."""
    match = re.search(rf"(?:^|[\s,]){re.escape(name)}: (.*?)(?=\n\S+/\S+: |, \S+/\S+: |\Z)", message, re.DOTALL)
    return match[1] if match and message.startswith("Error adding/updating") else message


def proto_path(body: Message, reason: str) -> str:
    """Return the path in a resource's proto that a reason is about; "" when it cannot be told."""
    if "ValidationError." in reason:
        return _constraint_path(body, reason)
    for pattern, search in _WORDS:
        match = re.search(pattern, reason)
        if match:
            return search if isinstance(search, str) else search.path(body, match)
    return ""


def _constraint_path(body: Message, reason: str) -> str:
    steps = re.findall(r"(\w+)ValidationError\.(\w+)(?:\[([^\]]+)\])?", reason)
    # The first steps may be about what is around the resource.
    while steps and not any(_named(item.value, steps[0][0]) for item in walk(body)):
        steps.pop(0)
    if not steps:
        return ""
    path, message = next(item for item in walk(body) if _named(item.value, steps[0][0]))
    for _, field_name, index in steps:
        field = next(
            (f for f in message.DESCRIPTOR.fields if f.name.replace("_", "") == field_name.replace("_", "").lower()),
            None,
        )
        if field is None:
            break
        step = f"{field.name}[{index}]" if index else field.name
        path = f"{path}.{step}" if path else step
        message = next((item.value for item in walk(body) if item.path == path), message)
    return path


def _named(value: object, name: str) -> bool:
    return isinstance(value, Message) and value.DESCRIPTOR.name == name


class _Text(NamedTuple):
    """Look for the quoted text: the first, or the last, string field that holds it."""

    template: str = r"\1"
    field: str = ""
    whole: bool = False
    last: bool = False

    def path(self, body: Message, match: re.Match[str]) -> str:
        wanted = re.sub(r"\s+", " ", match.expand(self.template))
        found = [item.path for item in self._strings(body) if self._fits(item.value, wanted)]
        return (found[-1] if self.last else found[0]) if found else ""

    def _strings(self, body: Message) -> Iterator[Found]:
        return (
            item for item in walk(body) if isinstance(item.value, str) and re.search(rf"{self.field}(\W|$)", item.path)
        )

    def _fits(self, value: str, wanted: str) -> bool:
        value = re.sub(r"\s+", " ", value)
        return wanted.strip() == value.strip() if self.whole else wanted in value


class _Body(NamedTuple):
    """Look for a response body of the given size."""

    def path(self, body: Message, match: re.Match[str]) -> str:
        size = int(match[1])
        texts = (item for item in walk(body) if isinstance(item.value, str) and item.path.endswith("inline_string"))
        return next((item.path for item in texts if len(item.value.encode()) == size), "")


class _Extension(NamedTuple):
    """Look for an extension by its name."""

    def path(self, body: Message, match: re.Match[str]) -> str:
        named = (item for item in walk(body) if item.path.endswith("name") and item.value == match[1])
        return next((item.path.rpartition(".")[0] for item in named), "")


_RE2_ERRORS = (
    r"missing [)\]]|unexpected \)|no argument for repetition operator|bad repetition operator|"
    r"invalid (?:escape sequence|character class|character class range|perl operator|repetition size|"
    r"named capture group|UTF-8)|trailing \\ at end of regexp|pattern too large - compile failed"
)

_WORDS: tuple[tuple[str, "str | _Text | _Body | _Extension"], ...] = (
    (r"Not supported field in StreamInfo: (\w+)", _Text(r"%\1")),
    (r"Incorrect configuration: (.*?)\.? Couldn't find valid command", _Text(whole=True)),
    (r"regex '(.*)' RE2 program size", _Text(field="regex", whole=True)),
    (rf"^(?:{_RE2_ERRORS}): (.*)", _Text(field="regex")),
    (r"unable to open file '(.*?)'", _Text(field="path", whole=True)),
    (r"path_match_policy\.path_template (\S+) is invalid", _Text(field="path_template", whole=True)),
    (
        r"path_rewrite_policy\.path_template_rewrite (\S+) is invalid",
        _Text(field="path_template_rewrite", whole=True),
    ),
    (r"Duplicate entry of domain (\S+) in", _Text(field=r"domains\[\d+\]", whole=True, last=True)),
    (r"Only a single wildcard domain", _Text("*", field=r"domains\[\d+\]", whole=True, last=True)),
    (r"unknown (?:weighted )?cluster '(.*?)'", _Text(whole=True)),
    (r"response body size is (\d+) bytes", _Body()),
    (r"malformed IP address: (.*?)\.? Consider", _Text(field="address", whole=True)),
    (r"Didn't find a registered implementation for '(.*?)'", _Extension()),
    (r"registered cluster factory implementation", "cluster_type"),
    (r"cannot bind '.*': (?:Cannot assign requested address|Address family)", "address"),
    (r"cannot bind|has duplicate address", "address.socket_address.port_value"),
    (r"max_ejection_time cannot be smaller", "outlier_detection.max_ejection_time"),
    (r"filter chain.*matching rules", "filter_chains"),
    (r"[Ff]ailed to load private key", "tls_certificate.private_key"),
    (r"[Ff]ailed to load certificate chain", "tls_certificate.certificate_chain"),
    (r"[Ff]ailed to load trusted CA", "validation_context"),
)

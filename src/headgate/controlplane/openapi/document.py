"""Documents: which version of OpenAPI one is written in, its references, and every operation in it.

Source: Swagger 2.0 and OpenAPI 3.0, 3.1, 3.2: Path Item Object, Operation Object, Reference Object.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin

from headgate.controlplane.openapi.servers import Server, read_servers, swagger_servers
from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import escape

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_ITEM_FIELDS: Final = frozenset({"$ref", "summary", "description", "servers", "parameters"})
_MAX_HOPS: Final = 64


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing about the document: a stable code, a sentence, and where."""

    code: str
    message: str
    pointer: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `key` is its path as written; `problem` says why the document gives no operation there.

    `servers` are those that apply to it; `query_names` and `header_names` are its declared parameters.
    """

    method: str
    key: str
    pointer: str
    operation_id: str
    servers: tuple[Server, ...]
    query_names: frozenset[str] = frozenset()
    header_names: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """An OpenAPI document that has been looked through. `url` is where relative URLs in it start from."""

    version: str
    title: str
    api_version: str
    servers: tuple[Server, ...]
    operations: tuple[Operation, ...]
    notes: tuple[Note, ...]


def read_document(root: Any, *, source_url: str = "", max_operations: int = 1_000_000) -> Document:
    """Look through plain values.

    Raises InvalidArgument with code `not_openapi`, `unsupported_version` or `invalid_document` (with JSON
    pointers), and `too_many_operations`.
    """
    if not isinstance(root, Mapping):
        raise _invalid("not_openapi", "The document is not an object.", "", "must be an object")
    version = _version(root)
    paths = root.get("paths")
    if paths is not None and not isinstance(paths, Mapping):
        raise _invalid("invalid_document", "'paths' is not an object.", "/paths", "must be an object")
    reader = _Reader(root, version, source_url)
    operations: list[Operation] = []
    for operation in reader.operations(paths or {}):
        operations.append(operation)
        if len(operations) > max_operations:
            raise InvalidArgument(
                f"The document has more than {max_operations:,} operations.",
                code="too_many_operations",
                hint="Split it, or raise the setting import_max_operations.",
            )
    info = root.get("info")
    info = info if isinstance(info, Mapping) else {}
    return Document(
        version,
        _text(info.get("title")),
        _text(info.get("version")),
        reader.root_servers,
        tuple(operations),
        tuple(reader.notes),
    )


def _invalid(code: str, message: str, pointer: str, violation: str, hint: str = "") -> InvalidArgument:
    return InvalidArgument(message, code=code, hint=hint, violations=[Violation(pointer, violation)])


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _version(root: Mapping[str, Any]) -> str:
    for name, pattern in (("openapi", r"3(\.[0-2])?(\.\d+)?([-+].*)?"), ("swagger", r"2(\.0)?(\.\d+)?")):
        if name in root:
            version = _text(root[name]).strip()
            if re.fullmatch(pattern, version):
                return version
            raise _invalid(
                "unsupported_version",
                f"'{name}' is '{version[:40]}', which is not a version this imports.",
                f"/{name}",
                "must be a known version",
                "Swagger 2.0 and OpenAPI 3.0, 3.1 and 3.2 are imported.",
            )
    hint = "An OpenAPI document says 'openapi: 3.x.y' or 'swagger: \"2.0\"' at its top."
    raise _invalid("not_openapi", "The document names no OpenAPI version.", "", "needs 'openapi' or 'swagger'", hint)


@dataclass(frozen=True, slots=True)
class _Item:
    """What a path item says for all of its operations."""

    key: str
    servers: tuple[Server, ...]
    query_names: frozenset[str]
    header_names: frozenset[str]


@dataclass(slots=True)
class _Reader:
    """Walks one document and gathers notes on the way."""

    root: Mapping[str, Any]
    version: str
    source_url: str
    notes: list[Note] = field(default_factory=list)
    root_servers: tuple[Server, ...] = ()
    base_url: str = ""
    _by_pointer: dict[str, tuple[Server, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        itself = self.root.get("$self")
        self.base_url = self.source_url
        if isinstance(itself, str):
            try:
                self.base_url = urljoin(self.source_url, urldefrag(itself).url)
            except ValueError:
                self._note("invalid_self", "'$self' is not a URL", "/$self")
        if self.is_swagger:
            self.root_servers = tuple(swagger_servers(self.root, self.root.get("schemes"), self.base_url))
        else:
            self.root_servers = self._servers(self.root, "") or tuple(
                read_servers([{"url": "/"}], "/servers", self.base_url)
            )
        for kind in ("webhooks", "callbacks"):
            if isinstance(self.root.get(kind), Mapping) and self.root[kind]:
                self._note(
                    f"{kind}_not_routed", f"'{kind}' are requests the API makes: there is nothing to route", f"/{kind}"
                )

    @property
    def is_swagger(self) -> bool:
        return self.version.startswith("2")

    def operations(self, paths: Mapping[str, Any]) -> Iterator[Operation]:
        if not paths:
            self._note("no_paths", "the document has no paths", "/paths")
        for key, item in paths.items():
            if not key.startswith("x-"):
                yield from self._of_item(key, item, f"/paths/{escape(key)}")

    def _of_item(self, key: str, item: Any, at: str) -> Iterator[Operation]:
        chain, problem = self._follow(item)
        if problem:
            code = "external_ref" if problem.startswith("points outside") else "broken_ref"
            self._note(code, f"the path item {problem}: its operations are not known", at)
        if not chain:
            self._note("empty_path_item", "the path item is not an object: it has no operations", at)
            return
        # What stands beside a reference wins over what it points to.
        fields = {name: value for node in reversed(chain) for name, value in node.items()}
        shared = _Item(key, self._servers(fields, at), *self._parameter_names(fields.get("parameters"), at))
        for method, node, pointer in self._methods(fields, at):
            yield self._operation(shared, method, node, pointer)

    def _methods(self, fields: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any, str]]:
        known = (*METHODS, "query") if self.version.startswith("3.2") else METHODS
        for name, value in fields.items():
            if name.lower() in known:
                yield name.upper(), value, f"{at}/{escape(name)}"
            elif name == "additionalOperations" and self.version.startswith("3.2") and isinstance(value, Mapping):
                for method, node in value.items():
                    yield method, node, f"{at}/additionalOperations/{escape(method)}"
            elif name not in _ITEM_FIELDS and not name.startswith("x-"):
                self._note(
                    "unknown_field",
                    f"'{name[:80]}' is no field of a path item in version {self.version}",
                    f"{at}/{escape(name)}",
                )

    def _operation(self, item: _Item, method: str, node: Any, pointer: str) -> Operation:
        chain, problem = self._follow(node)
        if not chain:
            return Operation(method, item.key, pointer, "", (), problem="the operation is not an object")
        if problem:
            self._note("broken_ref", f"the operation {problem}", pointer)
        fields = {name: value for part in reversed(chain) for name, value in part.items()}
        servers = self._servers(fields, pointer) or item.servers or self.root_servers
        if self.is_swagger and isinstance(fields.get("schemes"), list) and fields["schemes"]:
            servers = tuple(swagger_servers(self.root, fields["schemes"], self.base_url))
        query, headers = self._parameter_names(fields.get("parameters"), pointer)
        return Operation(
            method,
            item.key,
            pointer,
            _text(fields.get("operationId")).strip(),
            servers,
            item.query_names | query,
            item.header_names | headers,
        )

    def _servers(self, fields: Mapping[str, Any], at: str) -> tuple[Server, ...]:
        nodes = fields.get("servers")
        if self.is_swagger or nodes is None or nodes == []:
            return ()
        pointer = f"{at}/servers"
        if not isinstance(nodes, list):
            self._note("invalid_servers", "'servers' is not a list", pointer)
            return ()
        if pointer not in self._by_pointer:
            self._by_pointer[pointer] = tuple(read_servers(nodes, pointer, self.base_url))
        return self._by_pointer[pointer]

    def _parameter_names(self, nodes: Any, at: str) -> tuple[frozenset[str], frozenset[str]]:
        names: dict[str, set[str]] = {"query": set(), "header": set()}
        for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
            chain, problem = self._follow(node)
            if problem:
                self._note("broken_ref", f"the parameter {problem}", f"{at}/parameters/{index}")
            for part in chain[-1:]:
                place, name = part.get("in"), part.get("name")
                if isinstance(name, str) and isinstance(place, str) and place in names:
                    names[place].add(name)
        return frozenset(names["query"]), frozenset(names["header"])

    def _follow(self, node: Any) -> tuple[list[Mapping[str, Any]], str]:
        """The object and those its `$ref`s lead to in turn, and what is wrong with the references."""
        chain: list[Mapping[str, Any]] = []
        while isinstance(node, Mapping):
            chain.append(node)
            reference = node.get("$ref")
            if not isinstance(reference, str):
                return chain, ""
            if len(chain) > _MAX_HOPS or any(node is earlier for earlier in chain[:-1]):
                return chain, "refers to itself in a circle"
            node, problem = self._look_up(reference)
            if problem:
                return chain, problem
        return chain, "" if not chain else f"refers to something that is not an object ('{chain[-1]['$ref'][:120]}')"

    def _look_up(self, reference: str) -> tuple[Any, str]:
        location, _, fragment = reference.partition("#")
        if location and location != self.base_url:
            return None, f"points outside the document ('{reference[:120]}')"
        node: Any = self.root
        fragment = unquote(fragment)
        for token in fragment.split("/")[1:]:
            name = token.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and name in node:
                node = node[name]
            elif isinstance(node, list) and re.fullmatch(r"[0-9]{1,9}", name) and int(name) < len(node):
                node = node[int(name)]
            else:
                return None, f"refers to something that is not there ('{reference[:120]}')"
        if fragment and not fragment.startswith("/"):
            return None, f"refers to an anchor, which is not looked up ('{reference[:120]}')"
        return node, ""

    def _note(self, code: str, message: str, pointer: str) -> None:
        self.notes.append(Note(code, message, pointer))

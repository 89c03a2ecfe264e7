"""Where the parts of a request come from, worked out once for each method: its body, path and query.

    intake = intake_of(method, method.binding)
    intake.reads_body
    intake.of_body(JSON, body, ("7",))              # path values in the order of the template
    intake.of_query(b"verbose=true&tag=a&tag=b", ("7",))

Text becomes what the parameter's type says: `1` a number, `true` a boolean, `2026-01-31` a date. A parameter that is
a list takes its key any number of times; a record or a dictionary is one value of JSON. Keys that are no parameter
are refused.

    InvalidArgument
    ├── invalid_argument        all that is wrong, each with a pointer to the parameter or into the body
    ├── malformed_url           percent-encoding that is not UTF-8
    └── invalid_binding         at start: a path parameter that no segment can hold
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import did_you_mean, escape
from headgate.service.codecs import CODECS, UNDECODABLE, Codec, refused
from headgate.service.codecs.codec import Decode
from headgate.service.method import WITH_BODY, Binding, Method
from headgate.service.transports.http.parameters import Form, parameters_of
from headgate.service.types import blank_of, convert, violations

MOST_QUERY_FIELDS: Final = 256

Values = tuple[str, ...]


class Intake:
    """Makes the requests of one method: from a body alone, unless a subclass says otherwise."""

    reads_body = True

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._decoders: dict[Codec, Decode] = {codec: codec.decoder(kind) for codec in CODECS}
        self._blank = blank_of(kind)

    def of_body(self, codec: Codec | None, body: bytes, values: Values) -> Any:  # noqa: ARG002
        """The request. `codec` is None when there was nothing to read."""
        return self._decoded(codec, body)

    def of_query(self, query: bytes, values: Values) -> Any:
        """The request of a method that reads no body."""
        raise NotImplementedError

    def _decoded(self, codec: Codec | None, body: bytes) -> Any:
        if not body or codec is None:
            return self._empty()
        try:
            return self._decoders[codec](body)
        except UNDECODABLE as error:
            raise refused(codec, self.kind, body, error) from error

    def _empty(self) -> Any:
        """What no body at all stands for: an object without fields, where that will do."""
        if self._blank is None:
            from headgate.kit.asgi.inputs import REQUIRED, invalid

            raise invalid([REQUIRED])
        return self._blank()


class QueryIntake(Intake):
    """Path and query, for methods called with GET and DELETE."""

    reads_body = False

    def __init__(self, kind: Any, path: Sequence[str]) -> None:
        super().__init__(kind)
        self._path = tuple(path)
        self._forms: Mapping[str, Form] = parameters_of(kind)

    def of_query(self, query: bytes, values: Values) -> Any:
        """The request that path and query make."""
        found: dict[str, Any] = dict(zip(self._path, values, strict=True))
        wrong = self._read(query, found) if query else []
        try:
            request = convert(found, self.kind, strict=False)
        except msgspec.ValidationError as error:
            fault = _invalid(self.kind, found, error)
            told = {each.pointer for each in wrong}
            raise _fault([*wrong, *(each for each in fault.violations if each.pointer not in told)]) from error
        if wrong:
            raise _fault(wrong)
        return request

    def _read(self, query: bytes, found: dict[str, Any]) -> list[Violation]:
        """Put what a query says to what the path said. Returns what is wrong with it."""
        wrong: list[Violation] = []
        for name, value in pairs_of(query):
            form = self._forms.get(name)
            if form is None or name in self._path:
                known = [each for each in self._forms if each not in self._path]
                wrong.append(_unknown(name, known))
            elif form is Form.MANY:
                found.setdefault(name, []).append(value)
            elif name in found:
                wrong.append(Violation(f"/{escape(name)}", "is given more than once"))
            elif form is Form.JSON:
                try:
                    found[name] = msgspec.json.decode(value)
                except UNDECODABLE as error:
                    wrong.append(Violation(f"/{escape(name)}", f"is not JSON: {error}"))
            else:
                found[name] = value
        return wrong


class MixedIntake(Intake):
    """Path and body: the body is one parameter of the method, or an object of all that are not in the path."""

    def __init__(self, method: Method, binding: Binding) -> None:
        fields = {field.name: field for field in msgspec.structs.fields(method.request)}
        in_path = [fields[name] for name in binding.parameters]
        left = [field for field in fields.values() if field.name not in binding.parameters]
        super().__init__(fields[binding.body].type if binding.body else _record(f"{method.rpc}Body", left))
        self._request = method.request
        self._path = _record(f"{method.rpc}Path", in_path)
        self._names = binding.parameters
        self._make = _named(binding.body) if binding.body else _fields(tuple(field.name for field in left))
        self._default = fields[binding.body] if binding.body and not fields[binding.body].required else None

    def of_body(self, codec: Codec | None, body: bytes, values: Values) -> Any:
        """The request that path and body make."""
        found = dict(zip(self._names, values, strict=True))
        try:
            path = convert(found, self._path, strict=False)
        except msgspec.ValidationError as error:
            raise self._all_wrong(codec, body, found, error) from error
        arguments: dict[str, Any] = {name: getattr(path, name) for name in self._names}
        if body or self._default is None:
            arguments |= self._make(self._decoded(codec, body))
        return self._request(**arguments)

    def _all_wrong(
        self, codec: Codec | None, body: bytes, found: Mapping[str, str], error: Exception
    ) -> InvalidArgument:
        """The fault for a path that is wrong, with what is wrong with the body besides."""
        fault = _invalid(self._path, found, error)
        try:
            if body or self._default is None:
                self._decoded(codec, body)
        except InvalidArgument as more:
            return _fault([*fault.violations, *more.violations])
        return fault


def intake_of(method: Method, binding: Binding | None) -> Intake:
    """Where a method's requests come from at its RPC path (`binding` None), or at its binding."""
    if binding is None or (not binding.parameters and binding.verb in WITH_BODY):
        return Intake(method.request)
    forms = parameters_of(method.request)
    for name in binding.parameters:
        if name not in forms or forms[name] is not Form.ONE or method.kind.streams_in:
            raise InvalidArgument(
                f"{method.name}: the parameter '{name}' of {binding.path} cannot be read from a path",
                code="invalid_binding",
                hint="what stands in a path is text, a number, a date, an enum or the like",
            )
    if binding.verb in WITH_BODY:
        return MixedIntake(method, binding)
    return QueryIntake(method.request, binding.parameters)


def pairs_of(query: bytes) -> list[tuple[str, str]]:
    """The keys and values of a query, decoded. Raises InvalidArgument for too many, and for what is not UTF-8."""
    parts = query.split(b"&", MOST_QUERY_FIELDS)
    if len(parts) > MOST_QUERY_FIELDS:
        raise InvalidArgument(f"a query has at most {MOST_QUERY_FIELDS} parts", code="malformed_url")
    found = []
    for part in parts:
        if part:
            name, _, value = part.partition(b"=")
            found.append((_text(name), _text(value)))
    return found


def segment_of(raw: str) -> str:
    """One segment of a path, decoded. Raises InvalidArgument (`malformed_url`)."""
    try:
        return unquote(raw, errors="strict") if "%" in raw else raw
    except UnicodeDecodeError as error:
        raise malformed_url() from error


def malformed_url() -> InvalidArgument:
    """The fault for a URL whose bytes are no text."""
    return InvalidArgument("the URL is not UTF-8", code="malformed_url", hint="percent-encode the bytes of UTF-8")


def _text(part: bytes) -> str:
    if b"+" in part:
        part = part.replace(b"+", b" ")
    try:
        return (unquote_to_bytes(part) if b"%" in part else part).decode()
    except UnicodeDecodeError as error:
        raise malformed_url() from error


def _record(name: str, fields: Sequence[msgspec.structs.FieldInfo]) -> Any:
    """A struct of some of a request's fields."""
    listed: list[Any] = []
    for field in fields:
        if field.default_factory is not msgspec.NODEFAULT:
            listed.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        elif field.default is not msgspec.NODEFAULT:
            listed.append((field.name, field.type, field.default))
        else:
            listed.append((field.name, field.type))
    return msgspec.defstruct(name, listed, kw_only=True, frozen=True, forbid_unknown_fields=True)


def _named(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda body: {name: body}


def _fields(names: Values) -> Callable[[Any], dict[str, Any]]:
    return lambda body: {name: getattr(body, name) for name in names}


def _invalid(kind: Any, value: Mapping[str, Any], error: Exception) -> InvalidArgument:
    """The fault for path and query; a union or a dictionary may be explained by the library alone."""
    from headgate.kit.asgi.inputs import of_msgspec

    found = violations(kind, value, strict=False)
    return _fault(found) if found else of_msgspec(str(error))


def _unknown(name: str, known: list[str]) -> Violation:
    shown = name[:100]
    return Violation(f"/{escape(shown)}", f"unknown query parameter '{shown}'", did_you_mean(shown, known))


def no_query(query: bytes) -> None:
    """Refuse the query of a method that takes none."""
    wrong = [_unknown(name, []) for name, _ in pairs_of(query)]
    if wrong:
        raise _fault(wrong)


def _fault(wrong: Sequence[Violation]) -> InvalidArgument:
    from headgate.kit.asgi.inputs import invalid

    return invalid(wrong)

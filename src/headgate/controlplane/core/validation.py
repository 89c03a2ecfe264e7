"""From what a user sent to a specification: checked by its model, kept as written."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from headgate.controlplane.model.base import NAME_PATTERN, Spec
from headgate.controlplane.model.kinds import SPECS
from headgate.controlplane.model.route_config import Route
from headgate.controlplane.model.rows import RowKind
from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import violations_of

MODELS: Final[Mapping[RowKind, type[Spec]]] = {
    "route": Route,
    "cluster": SPECS["cluster"],
    "route_config": SPECS["route_config"],
    "listener": SPECS["listener"],
    "secret": SPECS["secret"],
}
LABELS: Final[dict[RowKind, str]] = {
    "cluster": "cluster",
    "route_config": "route config",
    "route": "route",
    "listener": "listener",
    "secret": "secret",
}
_NAME: Final = re.compile(NAME_PATTERN)


def label(kind: RowKind, name: str) -> str:
    """A resource in a sentence: `route config 'gateway'`."""
    return f"{LABELS[kind]} '{name}'"


def parse(kind: RowKind, name: str, document: Any, prefix: str = "") -> Spec:
    """The model of a document. Raises InvalidArgument (`invalid_document`); pointers start with `prefix`."""
    model = MODELS[kind]
    try:
        return model.model_validate(document)
    except ValidationError as error:
        violations = violations_of(error, prefix, model=model)
    raise invalid(f"The {label(kind, name)} is not valid", violations)


def dump(spec: Spec) -> dict[str, Any]:
    """The document as written: no defaults, no nulls."""
    return spec.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def check_name(kind: RowKind, name: str, prefix: str = "") -> None:
    """Refuse what cannot be a name. Raises InvalidArgument (`invalid_name`)."""
    if kind == "route":
        good = len(name.split("/")) == 3
        rule = "must be ROUTE_CONFIG/VIRTUAL_HOST/ROUTE"
    else:
        good = _NAME.fullmatch(name) is not None
        rule = "must be 1 to 100 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"
    if not good:
        raise InvalidArgument(
            f"'{name[:100]}' is not a name for a {LABELS[kind]}: it {rule}.",
            code="invalid_name",
            violations=[Violation(f"{prefix}/name", f"the name {rule}")],
        )


def invalid(what: str, violations: list[Violation]) -> InvalidArgument:
    """The fault for a document with these violations."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    where = f" at {first.pointer}" if first.pointer else ""
    return InvalidArgument(
        f"{what}:{where} {first.message}{more}.", code="invalid_document", hint=first.hint, violations=violations
    )

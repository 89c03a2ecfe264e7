"""JSON merge patch. Source: RFC 7396, section 2."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

Model = type[BaseModel]


def merge_patch(target: Any, patch: Any, model: Model | None = None) -> Any:
    """`target` with `patch` merged into it: null removes, objects merge, anything else replaces.

    With `model`, what the result is to be, null on a field that it does not have stays there for the
    validation to refuse: a misspelt name would remove nothing, and nobody would be told.
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None and (model is None or key in model.model_fields):
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value, _inside(model, key))
    return merged


def _inside(model: Model | None, key: str) -> Model | None:
    """The model of a field; None for one of free keys, or none at all."""
    field = model.model_fields.get(key) if model else None
    if field is None:
        return None
    union = get_origin(field.annotation) in {Union, UnionType}
    members = get_args(field.annotation) if union else (field.annotation,)
    models = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
    return models[0] if len(models) == 1 else None

"""What a request must look like: RouteMatch into envoy.config.route.v3.RouteMatch."""

from headgate.controlplane.model.matchers import HeaderMatch, Method, PathMatch, QueryMatch, RouteMatch
from headgate.controlplane.translate import template
from headgate.controlplane.translate.wire import Shape, value, wire_path


def route_match(spec: RouteMatch) -> Shape:
    """Translate a match."""
    shape = _path(spec.path)
    if not spec.case_sensitive:
        shape["case_sensitive"] = value(False)
    headers = [_header(match) for match in spec.headers]
    if spec.methods:
        headers.insert(0, _methods(spec.methods))
    if headers:
        shape["headers"] = headers
    if spec.query:
        shape["query_parameters"] = [_query(match) for match in spec.query]
    if spec.grpc:
        shape["grpc"] = {}
    return shape


def _path(path: PathMatch) -> Shape:
    if path.exact is not None:
        return {"path": wire_path(path.exact)}
    if path.prefix is not None:
        return {"prefix": wire_path(path.prefix)}
    if path.path_separated_prefix is not None:
        return {"path_separated_prefix": wire_path(path.path_separated_prefix)}
    if path.regex is not None:
        return {"safe_regex": {"regex": path.regex}}
    return template.match(path.template or "")


def _methods(methods: list[Method]) -> Shape:
    if len(methods) == 1:
        return {"name": ":method", "string_match": {"exact": methods[0]}}
    return {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(sorted(set(methods)))}}}


def _header(match: HeaderMatch) -> Shape:
    shape: Shape = {"name": match.name, "invert_match": match.invert}
    if match.present is not None:
        return {**shape, "present_match": match.present}
    # Without it Envoy answers "no match" for an absent header whether inverted or not.
    shape["treat_missing_header_as_empty"] = match.invert
    if match.regex is not None:
        return {**shape, "string_match": {"safe_regex": {"regex": match.regex}}}
    way = next(name for name in ("exact", "prefix", "suffix", "contains") if getattr(match, name) is not None)
    return {**shape, "string_match": {way: getattr(match, way)}}


def _query(match: QueryMatch) -> Shape:
    if match.present is not None:
        return {"name": match.name, "present_match": match.present}
    if match.regex is not None:
        return {"name": match.name, "string_match": {"safe_regex": {"regex": match.regex}}}
    way = "exact" if match.exact is not None else "prefix"
    return {"name": match.name, "string_match": {way: getattr(match, way)}}

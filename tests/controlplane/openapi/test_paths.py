"""Path keys: patterns, their order, and the conditions hidden in queries and fragments."""

import re

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from headgate.controlplane.model.matchers import PathMatch
from headgate.controlplane.openapi.footprint import Footprint
from headgate.controlplane.openapi.paths import (
    Condition,
    UnroutableError,
    fragment_conditions,
    parse_path,
    query_conditions,
    split_key,
)


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("/", "/", "exact"),
        ("", "/", "exact"),
        ("/a/b", "/a/b", "exact"),
        ("/a/", "/a/", "exact"),
        ("/A", "/A", "exact"),
        ("/a/{id}", "/a/{id}", "template"),
        ("/{a}.{b}", "/{a}.{b}", "template"),
        ("/f(x={x},y={y})", "/f(x={x},y={y})", "template"),
        ("/{id}/{id}/{id_2}", "/{id}/{id_2}/{id_2_2}", "template"),
        ("/{}/{a b}/{é}", "/{var}/{a_b}/{var_2}", "template"),
        ("/{id:[0-9]{3}}", "/{id}", "template"),
        ("/{id?}", "/{id}", "template"),
        ("/x{?page,size}", "/x", "exact"),
        ("/{proxy+}", "/{proxy=**}", "template"),
        ("/{*rest}", "/{rest=**}", "template"),
        ("/{rest=**}", "/{rest=**}", "template"),
        ("/{file:path}", "/{file=**}", "template"),
        ("/{file:.*}", "/{file=**}", "template"),
        ("/{id:[a-z]+}", "/{id}", "template"),
        ("/{name=things/*}", "/{name=**}", "template"),
        ("/v1/{+name}:cancel", "/v1/{name=**}:cancel", "regex"),
        ("/{rest+}/more", "/{rest=**}/more", "regex"),
        ("/{a}-{b+}", "/{a}-{b}", "template"),
        ('/a b/%20/"', "/a%20b/%20/%22", "exact"),
        ("/überall", "/%C3%BCberall", "regex"),
        ("/%c3%9f", "/%C3%9F", "regex"),
        ("/%41%7e", "/A~", "exact"),
        ("/100%", "/100%25", "exact"),
        ("/a[0]|b", "/a%5B0%5D%7Cb", "regex"),
        ("/a//b", "/a/b", "exact"),
        ("/a/./b/../c", "/a/c", "exact"),
        ("/a/..", "/", "exact"),
        ("/../..", "/", "exact"),
        ("/a/{x}/../b", "/a/b", "exact"),
    ],
)
def test_patterns(path, text, kind):
    """A path is written down as it travels, and matched in the simplest way that says it."""
    pattern = parse_path(path)
    assert pattern.text == text
    assert list(pattern.match()) == [kind]
    PathMatch.model_validate(pattern.match())


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/{a", "unbalanced_braces"),
        ("/a}", "unbalanced_braces"),
        ("/{a{b}", "unbalanced_braces"),
        ("/a%2Fb", "escaped_slash"),
        ("/a%5cb", "escaped_slash"),
        ("/a\\b", "escaped_slash"),
        ("/a%00", "control_character"),
        ("/" + "a" * 1024, "path_too_long"),
    ],
)
def test_unroutable_paths(path, code):
    """What no gateway lets through, or nobody can read, has a code."""
    with pytest.raises(UnroutableError) as caught:
        parse_path(path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("path", "matches", "not_matches"),
    [
        ("/überall", ["/%C3%BCberall", "/%c3%bcberall", "/%C3%bcberall"], ["/uberall", "/%C3%BCberall/"]),
        ("/a[0]", ["/a[0]", "/a%5B0%5D", "/a%5b0]"], ["/a0", "/a[1]"]),
        ("/v1/{+name}:cancel", ["/v1/a:cancel", "/v1/a/b:cancel"], ["/v1/:cancel", "/v1/a:cancel/x"]),
        ("/x.y/ß/{id}", ["/x.y/%C3%9f/1"], ["/xzy/%C3%9F/1", "/x.y/%C3%9F/1/2", "/x.y/%C3%9F/"]),
    ],
)
def test_expressions(path, matches, not_matches):
    """An expression takes every way a client may write the path, and nothing else."""
    expression = parse_path(path).match()["regex"]
    for text in matches:
        assert re2.fullmatch(expression, text), text
    for text in not_matches:
        assert not re2.fullmatch(expression, text), text


def test_specificity_orders_segment_by_segment():
    """Text comes before part text, before a variable, before everything below; longer part text comes first."""
    ordered = [
        "/a",
        "/a/b",
        "/a/b/c",
        "/a/b{x}",
        "/a/{x}",
        "/a/{x}/c",
        "/a/{x}/{y}.json",
        "/a/{x}/{y}.{z}",
        "/a/{x}/{y}{z}",
        "/a/{x}/{y}",
        "/a/{rest=**}",
        "/b",
        "/{x}:run",
        "/{x}",
        "/{x}/a",
    ]
    by_specificity = sorted(ordered, key=lambda path: parse_path(path).specificity)
    assert by_specificity == ordered


SEGMENTS = st.sampled_from(["a", "b", "{x}", "a{x}", "{x}b", "{x}.{y}", "", "%20", "ß"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def _filled(path: str, value: str) -> str:
    pattern = parse_path(path)
    return re.sub(r"\{[^{}]*\}", value, pattern.text)


@given(PATHS, PATHS, st.sampled_from(["zz", "a", "ab", "a.b", "b"]))
def test_what_covers_is_tried_later(one, other, value):
    """A pattern that takes all requests of another is less specific, so both can be reached."""
    first, second = parse_path(one), parse_path(other)
    if first.covers(second):
        assert first.specificity >= second.specificity
        assert re2.fullmatch(first._regex(), _filled(other, value))


@given(PATHS)
def test_a_stored_route_is_read_back(path):
    """The footprint of a stored route is that of the operation it was made for, but for names of variables."""
    pattern = parse_path(path)
    planned = Footprint.planned("GET", pattern, [Condition("query", "a", "b"), Condition("header", "x-c")])
    document = {
        "match": {
            "path": pattern.match(),
            "methods": ["GET"],
            "headers": [{"name": "X-C", "present": True}],
            "query": [{"name": "a", "exact": "b"}],
        }
    }
    stored = Footprint.of(document)
    assert (stored.shape, stored.identity, stored.specificity) == (planned.shape, planned.identity, planned.specificity)


@given(st.text(max_size=30) | st.text(alphabet="/{}:+*=.?#%ab[]ß ", max_size=30))
def test_any_key_is_read(key):
    """Whatever the key, there is a match that the model accepts, or a reason."""
    path, query, fragment = split_key(key)
    fragment_conditions(fragment, [], [])
    query_conditions(query)
    try:
        match = parse_path(path).match()
    except UnroutableError:
        return
    PathMatch.model_validate(match)


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("/a?b=c#d", ("/a", "b=c", "d")),
        ("/a#b?c", ("/a", "", "b?c")),
        ("/a/{x?}/{y#}?z", ("/a/{x?}/{y#}", "z", "")),
        ("/a{?x}", ("/a{?x}", "", "")),
        ("?a", ("", "a", "")),
    ],
)
def test_keys_are_split_outside_braces(key, parts):
    """A question mark or hash inside braces belongs to the variable."""
    assert split_key(key) == parts


def test_queries_are_conditions():
    """`a=b` asks for the value, `a` and `a={b}` for the presence; text is encoded as clients send it."""
    assert query_conditions("a=b&c&d={d}&a=again&e[f]=g h&={x}&{y}") == [
        Condition("query", "a", "b"),
        Condition("query", "c"),
        Condition("query", "d"),
        Condition("query", "e%5Bf%5D", "g%20h"),
    ]


def test_fragments_are_conditions_on_what_the_operation_declares():
    """The parts of a fragment are query parameters or headers when the operation declares them or they look so."""
    conditions, ignored = fragment_conditions(
        "X-Target=Do.It&Action=Go&tag&X-Kind&nothing", query_names={"tag"}, header_names={"x-kind"}
    )
    assert conditions == [
        Condition("header", "x-target", "Do.It"),
        Condition("query", "Action", "Go"),
        Condition("query", "tag"),
        Condition("header", "x-kind"),
    ]
    assert ignored == ["nothing"]


@given(st.sampled_from(["exact", "prefix", "path_separated_prefix", "regex", "template"]), st.text(max_size=30))
def test_any_stored_path_has_a_footprint(kind, text):
    """Whatever matcher somebody wrote, it can be compared, and takes the same requests as itself."""
    footprint = Footprint.of({"match": {"path": {kind: "/" + text}}})
    again = Footprint.of({"match": {"path": {kind: "/" + text}}})
    assert (footprint.identity, footprint.specificity) == (again.identity, again.specificity)
    footprint.swallows(again)
    assert footprint.pattern is None or footprint.path == ""

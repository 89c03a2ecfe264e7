"""Path templates as a regular expression, against the reference; which form is chosen."""

import re2
from envoy.config.route.v3.route_components_pb2 import RouteMatch
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.controlplane.translate import template
from tests.controlplane.translate.documents import templates
from tests.controlplane.translate.reference import bindings, rewritten

fillings = st.text("aZ9-._~%!$&'()*+,;=:@/|\"[^é", max_size=4)


@st.composite
def template_and_path(draw):
    """A template, and a path that may or may not match it."""
    text = draw(templates())
    pieces = [piece if isinstance(piece, str) else draw(fillings) for piece in template.parse(text)]
    tail = draw(st.sampled_from(["", "", "", "/", "x"]))
    return text, "".join(pieces) + tail


def regex_of(text: str) -> str:
    """The regular expression of a template, whether or not Envoy could take the template itself."""
    return template._regex(template.parse(text))


@settings(max_examples=400, deadline=None)
@given(template_and_path())
def test_the_expression_means_what_the_template_means(case):
    """The expression matches exactly the paths the reference matches."""
    text, path = case
    assert bool(re2.fullmatch(regex_of(text), path)) == (bindings(text, path) is not None)


@settings(max_examples=300, deadline=None)
@given(template_and_path(), st.data())
def test_the_rewriting_expression_means_what_the_template_means(case, data):
    """A rewrite by expression yields the reference's new path, whatever variables in whatever order."""
    text, path = case
    if bindings(text, path) is None:
        return
    names = [part.name for part in template.parse(text) if not isinstance(part, str)][:9]
    chosen = data.draw(st.lists(st.sampled_from([*names, ""]), max_size=6)) if names else []
    replacement = "/b/" + "/".join(f"{{{name}}}" if name else "c" for name in chosen)
    rewrite = template._regex_rewrite(template.parse(text), template.parse(replacement))
    got = re2.sub(rewrite["pattern"]["regex"], rewrite["substitution"], path)
    assert got == rewritten(text, replacement, path)


def form_of(text: str) -> str:
    """`regex`, or the pattern Envoy's matcher gets."""
    match = RouteMatch(**template.match(text))
    if match.HasField("safe_regex"):
        return "regex"
    return UriTemplateMatchConfig.FromString(match.path_match_policy.typed_config.value).path_template


def test_variables_are_renamed():
    """Names too long or too odd for Envoy do not keep a template from its matcher."""
    assert form_of("/a/{a-very-long-name.of_a_variable}/{id}.json") == "/a/{v0}/{v1}.json"


def test_a_single_segment_glob_is_a_plain_variable():
    """`{x=*}` and `{x}` are the same."""
    assert form_of("/a/{x=*}/{y=**}") == "/a/{v0}/{v1=**}"


def test_what_envoy_cannot_take_becomes_an_expression():
    """Six variables, two in a segment, odd literals, empty segments and long templates are expressions."""
    for text in (
        "/" + "/".join(f"{{{name}}}" for name in "abcdef"),
        "/{a}.{b}",
        "/a|b/{c}",
        "/a//{b}",
        "/*/{a}",
        "/" + "a" * 256,
    ):
        assert form_of(text) == "regex", text


def test_characters_beyond_ascii_are_percent_encoded():
    """Clients send them so."""
    assert form_of("/caf\u00e9/{x}") == "/caf%C3%A9/{v0}"

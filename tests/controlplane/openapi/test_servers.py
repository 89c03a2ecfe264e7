"""Servers: whom to connect to, and under which path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.controlplane.openapi.servers import read_server, read_servers, swagger_servers


@pytest.mark.parametrize(
    ("url", "origin", "base"),
    [
        ("https://api.example.com", "https://api.example.com", ""),
        ("https://api.example.com/v1/", "https://api.example.com", "/v1"),
        ("HTTP://API.Example.com.:80/", "http://api.example.com", ""),
        ("https://api.example.com:8443/a/b", "https://api.example.com:8443", "/a/b"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000", ""),
        ("http://[::1]:3000/x", "http://[::1]:3000", "/x"),
        ("//api.example.com/x", "https://api.example.com", "/x"),
        ("https://münchen.example/x", "https://xn--mnchen-3ya.example", "/x"),
        ("  https://api.example.com \n", "https://api.example.com", ""),
        ("https://my_service.internal", "https://my_service.internal", ""),
        ("https://api.example.com/v1?key=x#part", "https://api.example.com", "/v1"),
        ("https://user:secret@api.example.com/v1", "https://api.example.com", "/v1"),
    ],
)
def test_usable_urls(url, origin, base):
    """A URL with a scheme of HTTP and a host gives an origin and a base path."""
    server = read_server(url, "/servers/0/url")
    assert (server.origin and server.origin.text, server.base, server.problem) == (origin, base, "")


@pytest.mark.parametrize(
    ("url", "base", "why"),
    [
        ("", "", "relative"),
        ("/", "", "relative"),
        ("/v1/", "/v1", "relative"),
        ("v1", "/v1", "relative"),
        ("api.example.com/v1", "/v1", "https://api.example.com/v1"),
        ("localhost:3000/v1", "/v1", "https://localhost:3000/v1"),
        ("ftp://api.example.com/v1", "/v1", "'ftp'"),
        ("ws://api.example.com/v1", "/v1", "'ws'"),
        ("file:///v1", "/v1", "no host"),
        ("http:///v1", "/v1", "no host"),
        ("http://{tenant}.example.com/v1", "/v1", "'tenant'"),
        ("{scheme}://api.example.com/v1", "/v1", "'scheme'"),
        ("{server}/v1", "/v1", "'server'"),
        ("http://api.example.com:http/v1", "/v1", "not a port"),
        ("http://api.example.com:70000", "", "not a port"),
        ("http://api example.com", "", "not a host"),
        ("http://1.2.3", "", "not a host"),
        ("http://[::g]", "", "not a host"),
        ("http://a..b", "", "not a host"),
        ("http://" + "a" * 300, "", "not a host"),
    ],
)
def test_unusable_urls(url, base, why):
    """A URL that names nobody to connect to keeps its path and says why."""
    server = read_server(url, "")
    assert (server.origin, server.base) == (None, base)
    assert why in server.problem


def test_variables_have_defaults():
    """Variables are replaced by their default, else by the first of their values; in a path they may stay open."""
    variables = {"a": {"default": "x"}, "n": {"default": 8443}, "e": {"enum": ["first", "second"]}, "b": {}}
    assert read_server("https://{a}.example.com:{n}/{e}/{b}", "", variables).base == "/first/{b}"
    assert read_server("https://{a}.example.com:{n}", "", variables).origin.text == "https://x.example.com:8443"


def test_relative_urls_start_from_the_document():
    """A relative URL is one against the URL of the document."""
    server = read_server("../v2", "", None, "https://api.example.com/docs/openapi.json")
    assert (server.origin.text, server.base) == ("https://api.example.com", "/v2")


def test_credentials_are_never_repeated():
    """A user and a password in a URL are in nothing that is told."""
    server = read_server("https://user:secret@api.example.com?x", "")
    assert "secret" not in repr(server)
    assert {code for code, _ in server.notes} == {"server_query_ignored", "credentials_ignored"}


def test_swagger_prefers_https():
    """Of several schemes HTTPS comes first; without a scheme it is assumed; without a host there is no origin."""
    root = {"host": "api.example.com", "basePath": "v1/"}
    found = [server.origin and server.origin.text for server in swagger_servers(root, ["ws", "http", "https"])]
    assert found == ["https://api.example.com", "http://api.example.com", None]
    assert swagger_servers(root, None)[0].notes[0][0] == "scheme_assumed"
    assert swagger_servers({"basePath": "/v1"}, ["https"])[0].origin is None
    assert swagger_servers({"host": "https://api.example.com/"}, ["http"])[0].origin.text == "http://api.example.com"


def test_entries_that_are_no_servers():
    """An entry without a URL is unusable, and says so."""
    assert [server.problem for server in read_servers([None, {"url": 3}, {}], "/servers")] == [
        "it is not an object with a 'url'"
    ] * 3


@given(st.text(max_size=40) | st.text(alphabet="htps:/{}.[]@?#%0a", max_size=30), st.text(max_size=20))
def test_any_text_is_read(url, source):
    """Whatever stands there, it is a usable server, or one that says why not."""
    server = read_server(url, "", None, source)
    assert (server.origin is None) == bool(server.problem)
    assert server.base == "" or server.base.startswith("/")

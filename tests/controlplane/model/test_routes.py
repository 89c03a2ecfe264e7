"""What routes, virtual hosts and route configs may and may not say."""

import pytest

from headgate.controlplane.model.route_config import Route, RouteConfig, template_variables
from tests.controlplane.model.refusals import one_refusal


def route(path=None, name="r", **more):
    """A route that answers, unless it is told something else."""
    action = {} if {"forward", "redirect", "direct_response"} & more.keys() else {"direct_response": {"status": 200}}
    return {"name": name, "match": {"path": {"prefix": "/"} if path is None else path}, **action, **more}


def forward(path=None, **more):
    """A route that forwards to cluster `c`."""
    return route(path, forward={"cluster": "c", **more})


def hosts(*domains, **more):
    """A route config with a virtual host for each list of domains."""
    return {"virtual_hosts": [{"name": f"h{index}", "domains": each} for index, each in enumerate(domains)], **more}


TARGETS = [{"cluster": "a", "weight": 1}, {"cluster": "b", "weight": 0}]


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        (route(name="no/slash"), "name", "match pattern"),
        (route({}), "match.path", "needs exactly one of exact, prefix"),
        (route({"exact": "/a", "prefix": "/a"}), "match.path", "2 are given"),
        (route({"exact": "a"}), "match.path.exact", "must start with '/'"),
        (route({"exact": "/a?b"}), "match.path.exact", "must not hold '?'"),
        (route({"prefix": "/a b"}), "match.path.prefix", "white space"),
        (route({"path_separated_prefix": "/a/"}), "match.path.path_separated_prefix", "match pattern"),
        (route({"regex": "(a"}), "match.path.regex", "is not an RE2 regular expression: missing )"),
        (route({"regex": "(?=a)"}), "match.path.regex", "is not an RE2"),
        (route({"regex": "((a{50}){20}){50}"}), "match.path.regex", "RE2"),
        (route({"regex": "a\x00"}), "match.path.regex", "NUL"),
        (route({"template": "/{a"}), "match.path.template", "brace without its partner"),
        (route({"template": "/{}"}), "match.path.template", "without a name"),
        (route({"template": "/{a}/{a}"}), "match.path.template", "twice"),
        (route({"template": "/{a=b}"}), "match.path.template", "may only be"),
        (route({"template": "/{a=**}/b"}), "match.path.template", "must be the end"),
        (route(match={"path": {"regex": "/"}, "case_sensitive": False}), "match", "no meaning with a regex path"),
        (route(match={"path": {"prefix": "/"}, "methods": ["get"]}), "match.methods.0", "Input should be"),
        (route(match={"path": {"prefix": "/"}, "methods": ["CONNECT"]}), "match.methods.0", "Input should be"),
        (
            route(match={"path": {"prefix": "/"}, "headers": [{"name": "x"}]}),
            "match.headers.0",
            "needs exactly one of exact",
        ),
        (
            route(match={"path": {"prefix": "/"}, "headers": [{"name": "x y", "exact": ""}]}),
            "match.headers.0.name",
            "header name",
        ),
        (
            route(match={"path": {"prefix": "/"}, "headers": [{"name": "x", "exact": "a\nb"}]}),
            "match.headers.0.exact",
            "control",
        ),
        (
            route(match={"path": {"prefix": "/"}, "query": [{"name": "x", "exact": "", "present": True}]}),
            "match.query.0",
            "2 are given",
        ),
        (
            route(forward={"cluster": "c"}, redirect={"https": True}),
            "",
            "exactly one of forward, redirect, direct_response",
        ),
        (route(forward={}), "forward", "either cluster or weighted_clusters"),
        (route(forward={"cluster": "c", "weighted_clusters": TARGETS}), "forward", "either cluster or"),
        (route(forward={"weighted_clusters": TARGETS[1:]}), "forward", "needs a weight above 0"),
        (route(forward={"weighted_clusters": TARGETS + TARGETS[:1]}), "forward", "names a cluster twice"),
        (forward(prefix_rewrite="/a", regex_rewrite={"pattern": "a", "substitution": "b"}), "forward", "takes one of"),
        (forward(host_rewrite="a", auto_host_rewrite=True), "forward", "takes one of host_rewrite"),
        (forward(retry={"per_try_timeout_ms": 20_000}), "forward", "must not exceed timeout_ms"),
        (forward(retry={"base_interval_ms": 500}), "forward.retry", "must not exceed max_interval_ms"),
        (forward(retry={"retry_on": []}), "forward.retry.retry_on", "at least 1 item"),
        (
            forward(regex_rewrite={"pattern": "(a)", "substitution": "\\2"}),
            "forward.regex_rewrite",
            "pattern has 1 groups",
        ),
        (forward(regex_rewrite={"pattern": "a", "substitution": "\\x"}), "forward.regex_rewrite", "backslash"),
        (
            forward(regex_rewrite={"pattern": "a", "substitution": "a\r\n"}),
            "forward.regex_rewrite.substitution",
            "control",
        ),
        (forward({"regex": "/a"}, prefix_rewrite="/b"), "", "prefix_rewrite needs a prefix"),
        (forward({"prefix": "/a"}, template_rewrite="/b"), "", "needs a template path"),
        (
            forward({"template": "/{a}"}, template_rewrite="/{b}"),
            "",
            "uses ['b'], which the template path does not bind",
        ),
        (
            forward(
                {"template": "/" + "".join(f"{{{c}}}/" for c in "abcdefghij")},
                template_rewrite="/" + "".join(f"{{{c}}}" for c in "abcdefghij"),
            ),
            "",
            "more than 9 variables",
        ),
        (forward(hash_policy=[{}]), "forward.hash_policy.0", "exactly one of header, cookie"),
        (forward(hash_policy=[{"header": "x", "cookie_ttl_ms": 1}]), "forward.hash_policy.0", "goes with cookie"),
        (forward(mirrors=[{"cluster": "c", "percent": 101}]), "forward.mirrors.0.percent", "less than or equal to 100"),
        (route(redirect={}), "redirect", "changes nothing"),
        (route(redirect={"path": "/a", "prefix_rewrite": "/b"}), "redirect", "takes one of path"),
        (route(redirect={"path": "/a\nb"}), "redirect.path", "control"),
        (route(redirect={"https": True, "status": 300}), "redirect.status", "Input should be"),
        (route(direct_response={"status": 100}), "direct_response.status", "greater than or equal to 200"),
        (route(direct_response={"status": 200, "body": "x" * 4097}), "direct_response.body", "at most 4096"),
        (
            route(direct_response={"status": 200, "content_type": "a/b;\x01"}),
            "direct_response.content_type",
            "match pattern",
        ),
        (
            route(direct_response={"status": 200, "content_type": "t\u00e9xt/plain"}),
            "direct_response.content_type",
            "match pattern",
        ),
        (
            route(request_headers={"set": [{"name": "Host", "value": "a"}]}),
            "request_headers.set.0.name",
            "use the rewrite fields",
        ),
        (route(request_headers={"remove": [":path"]}), "request_headers.remove.0", "pseudo-header"),
        (
            route(response_headers={"set": [{"name": "x", "value": "a\r\nb: c"}]}),
            "response_headers.set.0.value",
            "control",
        ),
        (
            route(response_headers={"set": [{"name": "x", "value": "a", "action": "put"}]}),
            "response_headers.set.0.action",
            "match pattern",
        ),
    ],
)
def test_refused_route(document, place, words):
    """A wrong route is refused at its place, in words that say what is right."""
    one_refusal(Route, document, place, words)


@pytest.mark.parametrize(
    ("document", "place", "words"),
    [
        (hosts(["a b"]), "virtual_hosts.0.domains.0", "must be '*', a host"),
        (hosts(["*.*"]), "virtual_hosts.0.domains.0", "must be '*', a host"),
        (hosts([]), "virtual_hosts.0.domains", "at least 1 item"),
        (hosts(["a.example"], ["A.example"]), "", "stands twice: in virtual hosts 'h0' and 'h1'"),
        (hosts(["a.example", "A.EXAMPLE"]), "", "stands twice"),
        (
            {"virtual_hosts": [{"name": "a", "domains": ["a"]}, {"name": "a", "domains": ["b"]}]},
            "",
            "two entries named 'a'",
        ),
        (
            {"virtual_hosts": [{"name": "a", "domains": ["a"], "routes": [route(), route()]}]},
            "virtual_hosts.0",
            "two entries named 'r'",
        ),
    ],
)
def test_refused_config(document, place, words):
    """A wrong route config is refused at its place, in words that say what is right."""
    one_refusal(RouteConfig, document, place, words)


@pytest.mark.parametrize(
    "domain",
    ["*", "a.example", "*.a.example", "*-a.example", "a.*", "a.example:80", "a.example:*", "[::1]:80", "[::1]"],
)
def test_domains(domain):
    """Every form of domain Envoy knows is allowed."""
    assert RouteConfig.model_validate(hosts([domain])).virtual_hosts[0].domains == [domain]


def test_clusters_of_a_route():
    """A route names its clusters with the places where they stand."""
    more = {"weighted_clusters": TARGETS, "mirrors": [{"cluster": "m"}]}
    assert Route.model_validate(route(forward=more)).clusters() == [
        ("/forward/weighted_clusters/0/cluster", "a"),
        ("/forward/weighted_clusters/1/cluster", "b"),
        ("/forward/mirrors/0/cluster", "m"),
    ]
    assert Route.model_validate(route()).clusters() == []


def test_variables_of_a_template():
    """Names come without their globs."""
    assert template_variables("/a/{x}/{y=*}.{z=**}") == {"x", "y", "z"}

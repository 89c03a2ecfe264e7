"""Hypothesis strategies for documents the model accepts, every field of it now and then."""

import string

from hypothesis import strategies as st

names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True)
route_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,12}", fullmatch=True)
ports = st.integers(1, 65535)
ips = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
hosts = st.one_of(ips, st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){0,2}", fullmatch=True))
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
lines = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
milliseconds = st.integers(1, 300_000)
timeouts = st.one_of(st.just(0), milliseconds)
regexes = st.sampled_from([r".*", r"a+b", r"/v[0-9]+/(.*)", r"^(a|b)$", r"\d{3}", r"(?i)x", r"[^/]+"])
header_names = st.from_regex(r"x-[a-z0-9_.~!#-]{1,12}", fullmatch=True)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="%"), max_size=20)
paths = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@%/|é", max_size=20).map("/".__add__)
literals = st.text(string.ascii_letters + string.digits + "-._~!$&'()+,;=:@%|*", min_size=1, max_size=6)


def document(required=None, **optional):
    """A JSON object with all of the required fields and any of the optional ones."""
    return st.fixed_dictionaries(required or {}, optional=optional)


def one_of_fields(**alternatives):
    """A JSON object with exactly one of the fields."""
    return st.one_of(*(st.fixed_dictionaries({name: value}) for name, value in alternatives.items()))


def merged(*parts):
    """One JSON object out of several."""
    return st.tuples(*parts).map(lambda dicts: {key: value for part in dicts for key, value in part.items()})


@st.composite
def templates(draw):
    """Path templates of all kinds: many variables, several in a segment, a deep one at the end."""
    counter = iter(range(100))
    segments = []
    for _ in range(draw(st.integers(0, 5))):
        pieces = draw(st.lists(st.one_of(literals, st.none()), min_size=1, max_size=4))
        segments.append("".join(f"{{var{next(counter)}}}" if piece is None else piece for piece in pieces))
    if draw(st.booleans()):
        segments.append(f"{{var{next(counter)}=**}}")
    elif draw(st.booleans()):
        segments.append("")
    return "/" + "/".join(segments)


header_changes = document(
    set=st.lists(
        document(
            {"name": header_names, "value": header_values},
            action=st.sampled_from(["overwrite", "append", "add_if_absent"]),
        ),
        max_size=3,
    ),
    remove=st.lists(header_names, max_size=3),
)
statuses = st.integers(100, 599)
health_checks = merged(
    document(
        {"interval_ms": st.integers(1000, 60_000), "timeout_ms": st.integers(10, 999)},
        healthy_threshold=st.integers(1, 9),
        unhealthy_threshold=st.integers(1, 9),
    ),
    one_of_fields(
        http=document(
            path=paths,
            host=st.sampled_from(["", "a.example"]),
            method=st.sampled_from(["GET", "HEAD"]),
            expected_statuses=st.lists(
                st.tuples(statuses, statuses).map(lambda pair: {"start": min(pair), "end": max(pair)}),
                min_size=1,
                max_size=3,
            ),
        ),
        tcp=document(
            send=st.sampled_from(["", "00ff"]), receive=st.lists(st.sampled_from(["00", "abcdef"]), max_size=2)
        ),
    ),
)
load_balancing = st.one_of(
    document(policy=st.just("round_robin"), slow_start_ms=timeouts),
    document({"policy": st.just("least_request")}, choice_count=st.integers(2, 100), slow_start_ms=timeouts),
    document(
        {"policy": st.just("ring_hash")},
        minimum_ring_size=st.integers(1, 1024),
        maximum_ring_size=st.integers(1024, 8_388_608),
    ),
    document({"policy": st.just("maglev")}, table_size=st.sampled_from([2, 65_537, 5_000_011])),
    document({"policy": st.just("random")}),
)
uint32 = st.integers(1, 4_294_967_295)
thresholds = document(max_connections=uint32, max_pending_requests=uint32, max_requests=uint32, max_retries=uint32)
outlier_detection = document(
    consecutive_5xx=st.integers(0, 10_000),
    consecutive_gateway_failure=st.integers(0, 10_000),
    success_rate=st.booleans(),
    interval_ms=st.integers(100, 3_600_000),
    base_ejection_ms=st.integers(100, 1000),
    max_ejection_ms=st.integers(30_000, 86_400_000),
    max_ejection_percent=st.integers(0, 100),
)
tls_versions = st.sampled_from([{}, {"min_version": "1.3"}, {"max_version": "1.2"}])
upstream_tls = merged(
    st.one_of(
        document({"sni": hosts}, subject_alt_names=st.lists(st.one_of(hosts, st.just("spiffe://a/b")), max_size=3)),
        document({"sni": hosts, "verify": st.just("secret"), "ca_secret": names}),
        document({"verify": st.just("none")}, sni=hosts),
    ),
    document(client_certificate_secret=names),
    tls_versions,
)


@st.composite
def clusters(draw):
    """Documents of clusters."""
    discovery = draw(st.sampled_from(["static", "strict_dns", "logical_dns"]))
    count = 1 if discovery == "logical_dns" else draw(st.integers(1 if discovery == "strict_dns" else 0, 4))
    endpoints = [
        {"address": draw(ips if discovery == "static" else hosts), "port": 1000 + index, "priority": min(index, 2)}
        | draw(
            document(
                weight=st.integers(1, 10_000),
                locality=document(region=texts, zone=texts, sub_zone=st.sampled_from(["a", "b"])),
            )
        )
        for index in range(count)
    ]
    spec = draw(
        document(
            load_balancing=load_balancing,
            connect_timeout_ms=milliseconds,
            idle_timeout_ms=timeouts,
            max_requests_per_connection=st.integers(0, 1_000_000_000),
            health_checks=st.lists(health_checks, max_size=1),
            circuit_breakers=document(default=thresholds, high=thresholds),
            outlier_detection=outlier_detection,
            per_connection_buffer_limit_bytes=st.integers(1024, 1_073_741_824),
        )
    )
    spec |= {"discovery": discovery, "endpoints": endpoints}
    if draw(st.booleans()):
        spec["tls"] = draw(upstream_tls)
    spec["protocol"] = draw(st.sampled_from(["http1", "http2", "auto"] if "tls" in spec else ["http1", "http2"]))
    if spec["protocol"] == "http2" and draw(st.booleans()):
        spec["health_checks"] = [{"grpc": draw(document(service=lines, authority=lines))}]
    if discovery != "static":
        families = ["auto", "all", "v4_only", "v6_only", "v4_preferred"]
        spec |= draw(document(dns_refresh_ms=st.integers(100, 3_600_000), dns_family=st.sampled_from(families)))
    return spec


header_matches = merged(
    document({"name": header_names}, invert=st.booleans()),
    one_of_fields(
        exact=header_values,
        prefix=header_values.filter(bool),
        suffix=header_values.filter(bool),
        contains=header_values.filter(bool),
        regex=regexes,
        present=st.booleans(),
    ),
)
query_matches = merged(
    document({"name": texts.filter(bool)}),
    one_of_fields(exact=texts, prefix=texts.filter(bool), regex=regexes, present=st.booleans()),
)
methods = st.lists(st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]), max_size=4)
conditions = document(
    methods=methods,
    headers=st.lists(header_matches, max_size=2),
    query=st.lists(query_matches, max_size=2),
    grpc=st.booleans(),
)
retries = document(
    retry_on=st.lists(
        st.sampled_from(["5xx", "reset", "retriable-status-codes", "unavailable"]), min_size=1, max_size=4
    ),
    attempts=st.integers(1, 10),
    per_try_timeout_ms=st.integers(0, 100),
    retriable_status_codes=st.lists(st.integers(400, 599), max_size=3),
    base_interval_ms=st.integers(1, 100),
    max_interval_ms=st.integers(100, 600_000),
    avoid_previous_hosts=st.booleans(),
)
hash_policies = merged(
    document(terminal=st.booleans()),
    st.one_of(
        document({"header": header_names}),
        document({"cookie": st.just("session")}, cookie_ttl_ms=timeouts),
        document({"query": st.just("key")}),
        document({"source_ip": st.just(True)}),
    ),
)
weighted = st.lists(
    document({"cluster": names, "weight": st.integers(1, 10_000)}),
    min_size=1,
    max_size=4,
    unique_by=lambda t: t["cluster"],
)


@st.composite
def forwards(draw, rewrites):
    """Forward actions, with one of the given rewrites or none."""
    forward = draw(
        document(
            timeout_ms=st.one_of(st.just(0), st.integers(1000, 60_000)),
            idle_timeout_ms=timeouts,
            max_stream_duration_ms=timeouts,
            retry=retries,
            mirrors=st.lists(document({"cluster": names}, percent=st.integers(0, 100)), max_size=2),
            hash_policy=st.lists(hash_policies, max_size=2),
            upgrades=st.just(["websocket"]),
            priority=st.sampled_from(["default", "high"]),
        )
    )
    forward |= draw(one_of_fields(cluster=names, weighted_clusters=weighted))
    forward |= draw(st.one_of(st.just({}), rewrites))
    return forward | draw(st.sampled_from([{}, {"auto_host_rewrite": True}, {"host_rewrite": "b.example"}]))


@st.composite
def routes(draw, name=None):
    """Documents of routes."""
    regex_rewrite = document({"pattern": st.just("^/a(.*)"), "substitution": st.sampled_from(["/b\\1", "/\\\\"])})
    kind = draw(st.sampled_from(["exact", "prefix", "path_separated_prefix", "regex", "template"]))
    path = {
        "exact": paths,
        "prefix": paths,
        "path_separated_prefix": paths.map(lambda path: path.rstrip("/") + "/a"),
        "regex": regexes,
        "template": templates(),
    }[kind]
    match = {"path": {kind: draw(path)}, **draw(conditions)}
    rewrites = one_of_fields(regex_rewrite=regex_rewrite)
    if kind in {"exact", "prefix", "path_separated_prefix"}:
        rewrites = one_of_fields(regex_rewrite=regex_rewrite, prefix_rewrite=paths)
        match |= draw(document(case_sensitive=st.booleans()))
    if kind == "template":
        rewrites = one_of_fields(regex_rewrite=regex_rewrite, template_rewrite=st.just("/plain"))
    redirects = merged(
        document({"https": st.just(True)}, host=hosts, port=ports, strip_query=st.booleans()),
        st.one_of(st.just({}), rewrites.filter(lambda r: "template_rewrite" not in r), document(path=paths)),
        document(status=st.sampled_from([301, 302, 303, 307, 308])),
    )
    answers = document({"status": st.integers(200, 599)}, body=texts, content_type=st.just("application/json"))
    action = draw(one_of_fields(forward=forwards(rewrites), redirect=redirects, direct_response=answers))
    changes = draw(document(request_headers=header_changes, response_headers=header_changes))
    return {"name": name or draw(route_names), "match": match, **action, **changes}


@st.composite
def route_configs(draw):
    """Documents of route configs, with their routes."""
    domains = draw(
        st.lists(
            st.sampled_from(["*", "a.example", "*.b.example", "c.*", "d.example:8080", "[::1]:80"]),
            unique=True,
            min_size=1,
        )
    )
    hosts = []
    for index, domain in enumerate(domains):
        host = draw(
            document(
                request_headers=header_changes,
                response_headers=header_changes,
                retry=retries,
                require_tls=st.sampled_from(["none", "external_only", "all"]),
            )
        )
        some = draw(st.lists(routes(), max_size=4, unique_by=lambda route: route["name"]))
        hosts.append({"name": f"host{index}", "domains": [domain], "routes": some, **host})
    changes = draw(document(request_headers=header_changes, response_headers=header_changes))
    return {"virtual_hosts": hosts, **changes}


access_logs = merged(
    st.sampled_from([{}, {"destination": "stderr"}, {"destination": "file", "path": "/var/log/x.log"}]),
    st.sampled_from([{}, {"json_format": {"a": "%RESPONSE_CODE%"}}, {"text_format": "%PROTOCOL%"}]),
)
http_managers = document(
    {"route_config": names},
    codec=st.just("auto"),
    normalize_path=st.booleans(),
    merge_slashes=st.booleans(),
    escaped_slashes=st.sampled_from(["reject", "unescape_and_redirect", "unescape_and_forward", "keep"]),
    headers_with_underscores=st.sampled_from(["allow", "reject", "drop"]),
    xff_trusted_hops=st.integers(0, 32),
    max_request_headers_kb=st.integers(1, 8192),
    max_request_headers_count=st.integers(1, 10_000),
    request_headers_timeout_ms=timeouts,
    request_timeout_ms=timeouts,
    stream_idle_timeout_ms=timeouts,
    idle_timeout_ms=timeouts,
    drain_timeout_ms=timeouts,
    max_concurrent_streams=st.integers(1, 2_147_483_647),
    initial_stream_window_bytes=st.integers(65_535, 2_147_483_647),
    initial_connection_window_bytes=st.integers(65_535, 2_147_483_647),
    max_requests_per_connection=st.integers(0, 1_000_000_000),
    server_name=st.from_regex(r"[!-~]{0,12}", fullmatch=True),
    upgrades=st.just(["websocket"]),
    access_logs=st.lists(access_logs, max_size=2),
)
tcp_proxies = merged(
    one_of_fields(
        cluster=names,
        weighted_clusters=weighted.map(lambda targets: [*targets, {"cluster": "none-of-it", "weight": 0}]),
    ),
    document(
        idle_timeout_ms=timeouts,
        max_connect_attempts=st.integers(1, 10),
        access_logs=st.lists(access_logs, max_size=2),
    ),
)
downstream_tls = merged(
    document({"certificate_secrets": st.lists(names, min_size=1, max_size=3)}),
    st.one_of(
        st.just({}),
        document({"client_ca_secret": names}, require_client_certificate=st.booleans()),
    ),
    document(alpn=st.lists(st.sampled_from(["h2", "http/1.1"]), max_size=2, unique=True)),
    tls_versions,
)


@st.composite
def listeners(draw):
    """Documents of listeners."""
    chains = []
    for index in range(draw(st.integers(1, 3))):
        chain = {"name": f"chain{index}"}
        if index:
            chain["server_names"] = [f"*.sni{index}.example", f"sni{index}.example"]
        if draw(st.booleans()):
            chain["tls"] = draw(downstream_tls)
        chain |= draw(one_of_fields(http=http_managers, tcp=tcp_proxies))
        chains.append(chain)
    limits = document(
        address=ips,
        per_connection_buffer_limit_bytes=st.integers(1024, 1_073_741_824),
        max_connections=st.integers(0, 10_000_000),
    )
    return {"port": draw(ports), "filter_chains": chains, **draw(limits)}

"""Metrics: what is counted, under labels nobody outside can choose."""

import tracemalloc
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from headgate import __version__
from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.faults import ResourceExhausted
from headgate.kit.observe.metrics import CONTENT_TYPE, Metrics
from headgate.kit.safety.judgement import Judgement

Samples = dict[str, dict[tuple[str, ...], float]]


def samples(metrics: Metrics) -> Samples:
    """All figures, by name and label values in the order of the labels' names."""
    found: Samples = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            values = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[values] = sample.value
    return found


def ended(route: str = "/orders/{id}", method: str = "GET", protocol: Any = "http", **values: Any) -> Call:
    """A call that took 20 ms."""
    call = Call(protocol, method, "/orders/7", (), "10.0.0.7", 100.0)
    call.ended, call.complete, call.status, call.route = 100.02, True, 200, route
    for name, value in values.items():
        setattr(call, name, value)
    return call


def count(metrics: Metrics, *calls: Call, stream: bool = False) -> Samples:
    """Tell the metrics of calls, from arrival to end."""
    for call in calls:
        metrics.began(call.protocol)
        if stream:
            metrics.stream_began(call.protocol)
        metrics.ended(call, counted=True, stream=stream)
    return samples(metrics)


def test_calls_are_counted_by_route_and_code():
    """A call is counted and timed under protocol, route, method, status and code; bytes under the route."""
    found = count(
        Metrics(),
        ended(bytes_in=3, bytes_out=10),
        ended(bytes_out=5),
        ended(status=404, code="NOT_FOUND"),
        ended("/s/M", "POST", "grpc", status=503, code="UNAVAILABLE"),
    )
    assert found["headgate_requests_total"] == {
        ("OK", "GET", "http", "/orders/{id}", "200"): 2,
        ("NOT_FOUND", "GET", "http", "/orders/{id}", "404"): 1,
        ("UNAVAILABLE", "POST", "grpc", "/s/M", "503"): 1,
    }
    assert found["headgate_request_duration_seconds_count"] == {
        ("GET", "ok", "http", "/orders/{id}"): 2,
        ("GET", "refused", "http", "/orders/{id}"): 1,
        ("POST", "failed", "grpc", "/s/M"): 1,
    }
    assert found["headgate_request_duration_seconds_sum"]["GET", "ok", "http", "/orders/{id}"] == pytest.approx(0.04)
    buckets = found["headgate_request_duration_seconds_bucket"]
    assert [buckets[le, "GET", "ok", "http", "/orders/{id}"] for le in ("0.01", "0.025", "+Inf")] == [0, 2, 2]
    assert found["headgate_request_bytes_total"]["http", "/orders/{id}"] == 3
    assert found["headgate_response_bytes_total"]["http", "/orders/{id}"] == 15


@pytest.mark.parametrize(("values", "outcome"), [
    ({"status": 0, "complete": False}, "cancelled"), ({"status": 499, "code": "CANCELLED"}, "cancelled"),
    ({"complete": False}, "cut"), ({"status": 504, "code": "DEADLINE_EXCEEDED"}, "failed"),
    ({"status": 429, "code": "RESOURCE_EXHAUSTED"}, "refused"),
])  # fmt: skip
def test_how_a_call_ended(values, outcome):
    """Times are kept apart by how the call ended: a caller that left is no failure of the service."""
    found = count(Metrics(), ended(**values))
    assert list(found["headgate_request_duration_seconds_count"]) == [("GET", outcome, "http", "/orders/{id}")]


def test_streams_tell_of_their_first_byte():
    """A stream is timed to its first byte; an answer in one piece is not."""
    metrics = Metrics()
    count(metrics, ended(first_byte=100.004, messages_out=9), stream=True)
    found = count(metrics, ended(first_byte=100.004, messages_out=1))
    assert found["headgate_time_to_first_byte_seconds_count"] == {("http", "/orders/{id}"): 1}
    assert found["headgate_time_to_first_byte_seconds_bucket"]["0.005", "http", "/orders/{id}"] == 1


def test_what_runs_now():
    """Calls and streams under way are told by protocol, and none is left when they ended."""
    metrics = Metrics()
    for protocol in ("http", "http", "grpc"):
        metrics.began(protocol)
    metrics.stream_began("http")
    assert samples(metrics)["headgate_requests_in_flight"]["http",] == 2
    assert samples(metrics)["headgate_streams_in_flight"]["http",] == 1
    metrics.ended(ended(), counted=True, stream=True)
    metrics.ended(ended(), counted=True, stream=False)
    metrics.ended(ended(), counted=False, stream=False)
    assert samples(metrics)["headgate_requests_in_flight"]["http",] == 0
    assert samples(metrics)["headgate_streams_in_flight"]["http",] == 0
    assert samples(metrics)["headgate_requests_in_flight"]["grpc",] == 1


def test_refusals_are_counted_by_control():
    """A refusal is counted under the control and the fault's code; an answer of a control is no refusal."""
    fault = ResourceExhausted("slow down", code="rate_limited")
    found = count(
        Metrics(),
        ended(status=429, code="RESOURCE_EXHAUSTED", refused_by="rate_limit", fault=fault),
        ended(refused_by="probes"),
    )
    assert found["headgate_refusals_total"] == {("rate_limited", "rate_limit"): 1}


def test_callers_cannot_make_series():
    """Unknown paths, invented methods and impossible codes share one series each."""
    calls = [ended("", f"M{number}", status=0, code=f"C{number}") for number in range(50)]
    found = count(Metrics(), *calls)
    assert found["headgate_requests_total"] == {("UNKNOWN", "OTHER", "http", "(unmatched)", "499"): 50}


def test_label_sets_have_a_bound():
    """Beyond the bound, routes count as one; nothing is lost, and no figure grows without limit."""
    metrics = Metrics(most_series=5, most_targets=3)
    calls = [ended(f"/r/{number}", status=200 + number % 90) for number in range(300)]
    found = count(metrics, *calls)["headgate_requests_total"]
    assert sum(found.values()) == 300
    assert len(found) <= 11
    assert found["(other)", "(other)", "(other)", "(other)", "(other)"] > 100
    for number in range(20):
        metrics.cache_event(f"cache-{number}", "hit")
        metrics.breakers.changed(f"host-{number}", "closed", "open")
    assert len(samples(metrics)["headgate_cache_events_total"]) == 4
    assert len(samples(metrics)["headgate_breaker_state"]) == 4


def test_a_slow_bucket_leads_to_a_trace():
    """In OpenMetrics, buckets of a traced call name the trace; an unsampled one is not named."""
    metrics = Metrics()
    count(metrics, ended(trace=TraceContext("ab" * 16, "cd" * 8)))
    count(metrics, ended("/other", trace=TraceContext("ef" * 16, "01" * 8, sampled=False)))
    body, content_type = metrics.expose("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    exemplars = [
        sample.exemplar.labels
        for family in open_metrics(body.decode())
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert exemplars == [{"trace_id": "ab" * 16, "span_id": "cd" * 8}]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", CONTENT_TYPE),
        ("text/html,*/*;q=0.1", CONTENT_TYPE),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=x.y", "application/openmetrics-text"),
        ("text/plain;version=" + "9" * 5_000, "text/plain"),
    ],
)
def test_the_format_is_negotiated(accept, expected):
    """A scraper gets OpenMetrics when it asks for it, and plain text otherwise, whatever its header says."""
    body, content_type = Metrics().expose(accept)
    assert content_type.startswith(expected)
    assert body.endswith(b"# EOF\n") == content_type.startswith("application/openmetrics")


def test_what_rooms_tell():
    """Breakers, retries, caches, limiters, the content gate, the audit log and the log are counted."""
    metrics = Metrics()
    metrics.breakers.changed("payments", "closed", "open")
    metrics.breakers.rejected("payments")
    metrics.breakers.finished("payments", "failure", 0.1)
    metrics.retries.retried("payments", 1, 0.5)
    metrics.retries.gave_up("payments", "budget")
    metrics.limiter_store.store_down()
    metrics.limiter_store.without_store("local")
    metrics.cache_event("jokes", "hit")
    metrics.cache_event("", "evicted")
    metrics.safety.judged("input", Judgement("block", {"threat": 0.9}, ("threat",)))
    metrics.safety.scorer_failed("builtin", "timeout")
    metrics.audit_records("dropped", 1)
    metrics.lost_lines(3)
    found = samples(metrics)
    assert found["headgate_breaker_state"] == {("payments",): 2}
    assert found["headgate_breaker_transitions_total"] == {("open", "payments"): 1}
    assert found["headgate_breaker_rejections_total"] == {("payments",): 1}
    assert found["headgate_breaker_calls_total"] == {("failure", "payments"): 1}
    assert found["headgate_retries_total"] == {("payments",): 1}
    assert found["headgate_retries_given_up_total"] == {("budget", "payments"): 1}
    assert (found["headgate_limiter_store_up"], found["headgate_limiter_store_outages_total"]) == ({(): 0}, {(): 1})
    assert found["headgate_limiter_decisions_without_store_total"] == {("local",): 1}
    assert found["headgate_cache_events_total"] == {("jokes", "hit"): 1, ("(all)", "evicted"): 1}
    assert found["headgate_safety_verdicts_total"] == {("input", "block"): 1}
    assert found["headgate_safety_findings_total"] == {("threat", "input"): 1}
    assert found["headgate_safety_scorer_failures_total"] == {("timeout", "builtin"): 1}
    assert found["headgate_audit_records_total"] == {("dropped",): 1}
    assert found["headgate_log_lines_dropped_total"] == {(): 3}
    metrics.limiter_store.store_up()
    assert samples(metrics)["headgate_limiter_store_up"] == {(): 1}


def test_the_version_is_told():
    """The build is a metric, to be joined with others."""
    assert any(labels[1] == __version__ for labels in samples(Metrics())["headgate_build_info"])


def test_registries_are_separate():
    """Two applications in one process do not share their counts."""
    first, second = Metrics(), Metrics()
    count(first, ended())
    assert "headgate_requests_total" not in samples(second)


def test_the_process_is_measured():
    """Memory, processor time and open files of the process are there."""
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= set(samples(Metrics()))


@pytest.mark.soak
def test_a_million_routes_leave_memory_flat():
    """However many routes, methods, targets and codes there are, the figures take the same memory."""
    metrics = Metrics()

    def serve(first: int, calls: int) -> None:
        call = ended()
        for number in range(first, first + calls):
            call.route, call.method, call.fault = (
                f"/r/{number}",
                f"M{number}",
                ResourceExhausted("x", code=f"c{number}"),
            )
            call.refused_by, call.trace = f"control-{number}", TraceContext(f"{number:032x}", f"{number:016x}")
            metrics.ended(call, counted=False, stream=False)
            metrics.breakers.rejected(f"host-{number}")

    serve(1, 10_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    serve(10_001, 1_000_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2_000_000

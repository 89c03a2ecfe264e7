"""Metrics: what is counted, under labels nobody outside can choose."""

from prometheus_client.parser import text_string_to_metric_families

from headgate.kit.observe.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """The requests and their times, by name and label values (method, route, status)."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_requests_are_counted_by_template():
    """A request is counted and timed under its route's template, method and status class."""
    metrics = Metrics()
    metrics.observe_request(route="/teams/{team}", method="GET", status=404, seconds=0.02)
    metrics.observe_request(route="/teams/{team}", method="GET", status=400, seconds=0.02)
    found = samples(metrics)
    assert found["headgate_http_requests_total"] == {("GET", "/teams/{team}", "4xx"): 2}
    assert found["headgate_http_request_seconds_count"] == {("GET", "/teams/{team}", "4xx"): 2}


def test_callers_cannot_make_series():
    """Unknown paths and invented methods share one series each."""
    metrics = Metrics()
    for number in range(50):
        metrics.observe_request(route="", method=f"M{number}", status=404, seconds=0)
    assert samples(metrics)["headgate_http_requests_total"] == {("OTHER", "(unmatched)", "4xx"): 50}


def test_registries_are_separate():
    """Two applications in one process do not share their counts."""
    first, second = Metrics(), Metrics()
    first.observe_request(route="/", method="GET", status=200, seconds=0)
    assert "headgate_http_requests_total" not in samples(second)


def test_the_process_is_measured():
    """Memory, processor time and open files of the process are there."""
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= set(samples(Metrics()))

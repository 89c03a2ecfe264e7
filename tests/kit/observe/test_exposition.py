"""The text of the figures of calls: what Prometheus' own parsers read from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

from headgate.kit.observe.exposition import Exemplar, Family, Text, Times

SEEN = Family("seen", "What was seen.", ("route", "kind"))
TOOK = Family("took_seconds", "How long it took.", ("route",))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.integers(0, 2**53))
@pytest.mark.parametrize("form", [plain, open_metrics])
def test_any_label_is_read_back(form, value, number):
    """Whatever a label holds, quotes, backslashes and line breaks included, is read back as it was."""
    openly = form is open_metrics
    text = "".join(Text((1,)).numbers(SEEN, "counter", {(value, "x"): number}, open_metrics=openly))
    (family,) = form(text + ("# EOF\n" if openly else ""))
    (sample,) = family.samples
    assert (sample.name, sample.labels, sample.value) == ("seen_total", {"route": value, "kind": "x"}, number)


@pytest.mark.parametrize("form", [plain, open_metrics])
def test_a_histogram_is_read_back(form):
    """Buckets add up, the last one is the count, and exemplars are in OpenMetrics alone."""
    times = Times(2)
    times.buckets, times.total = [3, 2, 1], 4.5
    times.exemplars[1] = Exemplar("ab" * 16, "cd" * 8, 0.75, 1_700_000_000.25)
    openly = form is open_metrics
    writer = Text((0.5, 1))
    for _ in range(2):
        text = "".join(writer.histogram(TOOK, {("/r",): times}, open_metrics=openly))
        (family,) = form(text + ("# EOF\n" if openly else ""))
        assert [(each.name, each.labels.get("le"), each.value) for each in family.samples] == [
            ("took_seconds_bucket", "0.5", 3), ("took_seconds_bucket", "1.0", 5), ("took_seconds_bucket", "+Inf", 6),
            ("took_seconds_count", None, 6), ("took_seconds_sum", None, 4.5),
        ]  # fmt: skip
        exemplars = [each.exemplar for each in family.samples if each.exemplar]
        assert [(each.labels["trace_id"], each.value) for each in exemplars] == [("ab" * 16, 0.75)] * openly

"""Faults as documents, and documents as faults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import KINDS, FailedPrecondition, Fault, NotFound, Unknown, Violation
from headgate.service.faults import LONGEST_TEXT, detailed, document_of, fault_of
from tests.service.shop import OutOfStock

TEXT = st.text(min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(KINDS)),
    TEXT,
    TEXT,
    st.text(max_size=9),
    st.none() | st.floats(0, 1e6),
    st.lists(st.builds(Violation, st.text(max_size=5), TEXT, st.text(max_size=5)), max_size=3),
    st.dictionaries(TEXT, JSON, max_size=3),
)
def test_a_fault_comes_out_as_it_went_in(kind, message, code, hint, retry_after, violations, details):
    """Kind, texts, code, violations, details and time to wait survive the way through a document."""
    sent = KINDS[kind](
        message, code=code, hint=hint, retry_after=retry_after, violations=violations, details=details, internal="x"
    )
    got = fault_of(document_of(sent), {})
    assert type(got) is type(sent)
    for name in ("message", "code", "hint", "retry_after", "violations", "details"):
        assert getattr(got, name) == getattr(sent, name), name
    assert got.internal == ""


def test_a_declared_fault_is_caught_by_its_class():
    """Who declared the class gets it back; others get the kit's of that kind."""
    document = document_of(OutOfStock("only 2", details={"left": 2}))
    got = fault_of(document, {"out_of_stock": OutOfStock})
    assert isinstance(got, OutOfStock)
    assert got.details == {"left": 2}
    assert type(fault_of(document, {})) is FailedPrecondition


@pytest.mark.parametrize("change", [{"details": {"left": "two"}}, {"details": {}}, {"kind": "NOT_FOUND"}])
def test_a_class_is_not_made_of_what_it_does_not_declare(change):
    """A document whose details or kind are not the class's becomes the kit's fault of its kind."""
    document = document_of(OutOfStock("only 2", details={"left": 2})) | change
    got = fault_of(document, {"out_of_stock": OutOfStock})
    assert type(got) is KINDS[document["kind"]]
    assert got.code == "out_of_stock"


@given(JSON, st.integers(0, 999))
def test_any_document_makes_a_fault(document, status):
    """Whatever a stranger sends in place of a document, a fault is made of it."""
    assert isinstance(fault_of(document, {}, status=status), Fault)


def test_without_a_kind_the_status_says_it():
    """A refusal of somebody between, such as a proxy's, is of the kind its status says."""
    assert type(fault_of(None, {}, status=404)) is NotFound
    assert type(fault_of("<html>", {})) is Unknown


def test_long_texts_are_cut():
    """What another service says takes no more room than it may."""
    assert len(fault_of({"detail": "x" * 100_000}, {}).message) == LONGEST_TEXT


def test_details_that_are_not_declared_are_a_defect():
    """Raising a declared fault with other details is an error of the service, not of its caller."""
    assert detailed(OutOfStock("x", details={"left": 1})).details == {"left": 1}
    with pytest.raises(TypeError, match="OutOfStock"):
        detailed(OutOfStock("x", details={"left": "one"}))

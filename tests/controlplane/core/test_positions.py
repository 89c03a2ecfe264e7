"""Routes keep their places."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from headgate.controlplane.core.positions import arrange
from headgate.controlplane.model.rows import POSITION_GAP

names = st.lists(st.sampled_from("abcdefghij"), unique=True)


def test_new_routes_are_numbered_with_gaps() -> None:
    """Routes that were nowhere stand a gap apart."""
    assert arrange(["a", "b"], {}) == {"a": POSITION_GAP, "b": 2 * POSITION_GAP}


def test_a_route_in_between_moves_no_other() -> None:
    """A route put between two others gets the middle of their gap."""
    assert arrange(["a", "x", "b"], {"a": 100, "b": 200}) == {"a": 100, "x": 150, "b": 200}


def test_a_moved_route_moves_alone() -> None:
    """When the last becomes the first, only it gets another position."""
    stored = {"a": 10, "b": 20, "c": 30}
    arranged = arrange(["c", "a", "b"], stored)
    assert [name for name in stored if arranged[name] != stored[name]] == ["c"]


def test_the_route_that_is_moved_is_the_one_that_moves() -> None:
    """Of two that change places, the one somebody moved gets another position; moved back, none does."""
    stored = {"a": 10, "b": 20, "c": 30}
    for moved, still in (("a", "b"), ("b", "a")):
        arranged = arrange(["b", "a", "c"], stored, {moved})
        assert (arranged[moved] != stored[moved], arranged[still]) == (True, stored[still])
    assert arrange(["a", "b", "c"], stored, {"a"}) == stored


def test_without_room_all_are_numbered_afresh() -> None:
    """When two neighbours have no number between them, the virtual host is renumbered."""
    assert arrange(["a", "x", "b"], {"a": 1, "b": 2}) == {
        "a": POSITION_GAP,
        "x": 2 * POSITION_GAP,
        "b": 3 * POSITION_GAP,
    }


@given(names, st.dictionaries(st.sampled_from("abcdefghij"), st.integers(-50, 50)))
def test_positions_follow_the_order(order: list[str], stored: dict[str, int]) -> None:
    """Whatever was stored, positions rise strictly in the order that is wanted."""
    arranged = arrange(order, stored)
    positions = [arranged[name] for name in order]
    assert set(arranged) == set(order)
    assert all(one < other for one, other in itertools.pairwise(positions))


@given(st.dictionaries(st.sampled_from("abcdefghij"), st.integers(-(10**6), 10**6)))
def test_an_unchanged_order_changes_nothing(stored: dict[str, int]) -> None:
    """Routes that stand in the wanted order with distinct positions keep them."""
    by_position = {position: name for name, position in stored.items()}
    kept = {name: position for position, name in by_position.items()}
    order = sorted(kept, key=kept.__getitem__)
    assert arrange(order, kept) == kept

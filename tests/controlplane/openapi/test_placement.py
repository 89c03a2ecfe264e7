"""Placement: where routes go among those that are there, and what stands in their way."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.controlplane.openapi.footprint import Footprint
from headgate.controlplane.openapi.placement import Placed, before_whom, obstacles

MINE = "api/shop"


def footprint(kind: str, path: str, *methods: str, **match) -> Footprint:
    """The footprint of a route document."""
    return Footprint.of({"match": {"path": {kind: path}, "methods": list(methods), **match}})


def there(*routes: tuple[str, str, Footprint]) -> list[Placed]:
    """Routes that are there: (name, owner, footprint)."""
    return [Placed(*route) for route in routes]


def stopped(staying: list[Placed], **fresh: Footprint) -> dict[str, tuple[str, str]]:
    """Code and holder of what cannot be had."""
    found = obstacles(fresh, staying, MINE, before_whom(fresh, staying))
    return {name: (obstacle.code, obstacle.holder.name) for name, obstacle in found.items()}


def inserted(staying: list[Placed], fresh: dict[str, Footprint]) -> list[str]:
    """The order that comes of inserting one after another."""
    order = [placed.name for placed in staying]
    for name, before in before_whom(fresh, staying).items():
        order.insert(order.index(before) if before else len(order), name)
    return order


def test_fresh_routes_go_among_the_managed_ones():
    """Routes Headgate manages stay ordered by specificity; routes people wrote keep their neighbours."""
    staying = there(
        ("by-hand", "", footprint("regex", "/x.*")),
        ("a", "api/other", footprint("exact", "/a")),
        ("between", "", footprint("exact", "/zzz")),
        ("any", "api/other", footprint("template", "/{x}")),
        ("hello", "expose/hello", footprint("prefix", "/")),
    )
    fresh = {"b": footprint("exact", "/b"), "aa": footprint("exact", "/a/a"), "deep": footprint("template", "/{x}/{y}")}
    assert inserted(staying, fresh) == ["by-hand", "a", "between", "aa", "b", "any", "deep", "hello"]


def test_a_catch_all_at_the_end_stays_at_the_end():
    """New routes go in front of what takes everything at the very end, so that they are reached."""
    staying = there(("first", "", footprint("exact", "/first")), ("rest", "", footprint("prefix", "/")))
    assert inserted(staying, {"a": footprint("exact", "/a")}) == ["first", "a", "rest"]
    assert stopped(staying, a=footprint("exact", "/a")) == {}


def test_requests_that_go_elsewhere_already():
    """A route with the same requests as somebody else's cannot be had; another method or condition can."""
    staying = there(
        ("theirs", "api/other", footprint("template", "/a/{id}", "GET")),
        ("all", "", footprint("exact", "/b")),
        ("asked", "", footprint("exact", "/c", query=[{"name": "x", "present": True}])),
        ("name", "", footprint("exact", "/d")),
    )
    assert stopped(
        staying,
        same=footprint("template", "/a/{name}", "GET"),
        put=footprint("template", "/a/{name}", "PUT"),
        every=footprint("exact", "/b", "GET"),
        plain=footprint("exact", "/c", "GET"),
        query=footprint("exact", "/c", "GET", query=[{"name": "x", "present": True}]),
        name=footprint("exact", "/e"),
    ) == {
        "same": ("taken", "theirs"),
        "every": ("taken", "all"),
        "query": ("taken", "asked"),
        "name": ("name_taken", "name"),
    }


def test_routes_that_would_never_be_tried():
    """A broader route that people wrote in front takes the requests away; one behind, or a narrower one, does not."""
    staying = there(
        ("prefix", "", footprint("prefix", "/api")),
        ("below", "", footprint("path_separated_prefix", "/own")),
        ("one", "", footprint("template", "/item/{id}")),
        ("posts", "", footprint("prefix", "/post", "POST")),
        ("asked", "", footprint("prefix", "/asked", headers=[{"name": "x", "present": True}])),
        ("managed", "api/other", footprint("exact", "/m")),
        ("late", "", footprint("prefix", "/zlate")),
        ("last", "api/other", footprint("template", "/{zz}")),
    )
    assert stopped(
        staying,
        api=footprint("exact", "/apis", "GET"),
        own=footprint("template", "/own/{x}", "GET"),
        owned=footprint("exact", "/owned", "GET"),
        item=footprint("exact", "/item/1", "GET"),
        items=footprint("template", "/item/{x}/y", "GET"),
        get=footprint("exact", "/post", "GET"),
        post=footprint("exact", "/post", "POST"),
        plain=footprint("exact", "/asked/x", "GET"),
        late_too=footprint("exact", "/zlate/x", "GET"),
        before=footprint("exact", "/a", "GET"),
    ) == {
        "api": ("shadowed", "prefix"),
        "own": ("shadowed", "below"),
        "item": ("shadowed", "one"),
        "post": ("shadowed", "posts"),
        "late_too": ("shadowed", "late"),
    }


def test_a_wall_behind_the_place_is_no_wall():
    """What people wrote behind the managed routes does not shadow a route that goes in front of those."""
    staying = there(
        ("z", "api/other", footprint("exact", "/z")),
        ("wide", "", footprint("prefix", "/a")),
        ("end", "api/other", footprint("prefix", "/")),
    )
    assert stopped(staying, a=footprint("exact", "/a/b", "GET")) == {}
    assert inserted(staying, {"a": footprint("exact", "/a/b", "GET")}) == ["a", "z", "wide", "end"]


PATHS = st.sampled_from(["/a", "/b", "/a/{x}", "/{x}", "/a/b", "/{x}/b", "/{x}/{y}", "/{r=**}"])


@given(st.lists(PATHS, max_size=5, unique=True), st.lists(PATHS, max_size=5, unique=True), st.randoms())
def test_managed_routes_stay_sorted(old, new, random):
    """Whatever is inserted among managed routes in order, they are in order afterwards, and people's are not moved."""
    known = {f"old-{path}": footprint("template", path, "GET") for path in old}
    fresh = {f"new-{path}": footprint("template", path, "PUT") for path in new}
    order = sorted(known, key=lambda name: known[name].specificity)
    staying = [Placed(name, "api/other", known[name]) for name in order]
    for number in range(3):
        staying.insert(random.randint(0, len(staying)), Placed(f"hand-{number}", "", footprint("exact", f"/h{number}")))
    after = inserted(staying, fresh)
    managed = [(known | fresh)[name].specificity for name in after if not name.startswith("hand")]
    assert managed == sorted(managed)
    assert [name for name in after if name not in fresh] == [placed.name for placed in staying]

"""ETag, If-Match and If-None-Match: who was faster is never lost."""

import asyncio

import pytest

from headgate.controlplane.native.preconditions import must_match, must_match_or_be_absent, not_modified
from headgate.kit.controls.faults import InvalidArgument
from tests.controlplane.native.samples import cluster

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_current_etag_lets_the_write_through(api):
    """PUT, PATCH and DELETE with the ETag that is stored, with several of which one is, or with `*`, do their work."""
    etag = (await api.put("/clusters/c", json=cluster())).headers["etag"]
    etag = (await api.put("/clusters/c", json=cluster(2), headers={"if-match": etag})).headers["etag"]
    answer = await api.patch("/clusters/c", json={"connect_timeout_ms": 5}, headers={"if-match": f'"1", {etag}'})
    assert answer.status_code == 200
    assert (
        await api.patch("/clusters/c", json={"connect_timeout_ms": 6}, headers={"if-match": "*"})
    ).status_code == 200
    etag = (await api.get("/clusters/c")).headers["etag"]
    assert (await api.delete("/clusters/c", headers={"if-match": etag})).status_code == 204


@pytest.mark.parametrize("held", ['"999"', 'W/"1"', '"1"'])
async def test_another_etag_is_412_and_changes_nothing(api, held):
    """A write with an ETag that is not the stored one (nor equal in the strong sense) is 412."""
    await api.put("/clusters/c", json=cluster())
    stored = (await api.put("/clusters/c", json=cluster(2))).json()
    for answer in (
        await api.put("/clusters/c", json=cluster(3), headers={"if-match": held}),
        await api.patch("/clusters/c", json={"connect_timeout_ms": 5}, headers={"if-match": held}),
        await api.delete("/clusters/c", headers={"if-match": held}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (412, "etag_mismatch")
        assert answer.json()["hint"]
    assert (await api.get("/clusters/c")).json() == stored


async def test_if_match_on_nothing_is_412_for_put(api):
    """PUT with If-Match does not create."""
    for held in ('"1"', "*"):
        answer = await api.put("/clusters/none", json=cluster(), headers={"if-match": held})
        assert (answer.status_code, answer.json()["code"]) == (412, "etag_mismatch")


async def test_if_none_match_star_creates_only(api):
    """PUT with If-None-Match: * creates once, and is 412 from then on."""
    only_new = {"if-none-match": "*"}
    assert (await api.put("/clusters/c", json=cluster(), headers=only_new)).status_code == 201
    answer = await api.put("/clusters/c", json=cluster(2), headers=only_new)
    assert (answer.status_code, answer.json()["code"]) == (412, "etag_mismatch")
    assert (await api.get("/clusters/c")).json()["spec"] == cluster()


async def test_get_with_a_current_etag_is_304(api):
    """GET with an ETag that is current has no body, and with an old one has."""
    first = await api.put("/clusters/c", json=cluster())
    for held in (first.headers["etag"], f"W/{first.headers['etag']}", f'"x", {first.headers["etag"]}', "*"):
        answer = await api.get("/clusters/c", headers={"if-none-match": held})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", first.headers["etag"])
    await api.put("/clusters/c", json=cluster(2))
    assert (await api.get("/clusters/c", headers={"if-none-match": first.headers["etag"]})).status_code == 200


async def test_of_two_patches_with_one_etag_one_wins(api):
    """Two writers who read the same ETag: exactly one is let through, the other is told, and its change is absent."""
    for turn in range(10):
        etag = (await api.put("/clusters/c", json=cluster(turn + 1))).headers["etag"]
        first, second = await asyncio.gather(
            api.patch("/clusters/c", json={"connect_timeout_ms": 1}, headers={"if-match": etag}),
            api.patch("/clusters/c", json={"idle_timeout_ms": 100}, headers={"if-match": etag}),
        )
        assert sorted((first.status_code, second.status_code)) == [200, 412]
        won = cluster(turn + 1, connect_timeout_ms=1) if first.is_success else cluster(turn + 1, idle_timeout_ms=100)
        assert (await api.get("/clusters/c")).json()["spec"] == won


@pytest.mark.parametrize("value", ["12", "12, 13", '"12', "", '"a" "b"', "'12'"])
async def test_what_is_no_etag_is_400(api, value):
    """A precondition that cannot be understood is refused, not ignored."""
    answer = await api.put("/clusters/c", json=cluster(), headers={"if-match": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert "If-Match" in answer.json()["hint"]


async def test_put_takes_one_condition():
    """If-None-Match on a PUT is `*` alone."""
    for if_match, if_none_match in ((None, '"1"'), ('"1"', "*")):
        with pytest.raises(InvalidArgument):
            must_match_or_be_absent(if_match, if_none_match)
    assert must_match_or_be_absent(None, "*").absent
    assert must_match(None).if_match is None


async def test_without_a_held_etag_everything_is_news():
    """A GET without If-None-Match is never 304."""
    assert not not_modified(None, '"1"')
    assert not not_modified('"2"', '"1"')

"""Publishing on both databases, at the level of the use cases."""

import asyncio
import json

import pytest

from headgate.controlplane.core.changes import Actor, Change
from headgate.controlplane.core.expose import Expose, ExposeOptions
from headgate.controlplane.core.imports import ImportOptions, Imports
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.teams import Teams
from headgate.kit.controls.faults import NotFound
from tests.controlplane.platform.documents import document, operations

ME = Actor("alice", "platform")
TEAM = "default"


@pytest.fixture
async def resources(store):
    """The use cases on rows, on a store that has the team."""
    await Teams(store).create(ME, TEAM)
    return Resources(store, preflight=None, secrets=SecretBox(bytes(32)))


def _raw(*paths: str) -> bytes:
    return json.dumps(document(operations(*paths))).encode()


async def _routes(resources: Resources) -> list[str]:
    stored = await resources.get(TEAM, "route_config", "gateway")
    return [route["name"] for route in stored.document["virtual_hosts"][0].get("routes", ())]


async def test_import_change_and_delete(store, resources):
    """An API is imported, imported again without a change, changed, and deleted."""
    imports = Imports(store, resources)
    options = ImportOptions(name="shop")
    first = await imports.run(ME, TEAM, _raw("/a", "/{x}", "/b/{y}"), options)
    assert (first.routed, first.outcome.revision) == (3, 1)
    again = await imports.run(ME, TEAM, _raw("/a", "/{x}", "/b/{y}"), options)
    assert (again.outcome.changed, again.outcome.revision) == (False, 1)
    await imports.run(ME, TEAM, _raw("/a", "/a/b", "/c"), options)
    assert await _routes(resources) == ["shop:get-a", "shop:get-a-b", "shop:get-c"]
    await imports.delete(ME, TEAM, "shop")
    assert await _routes(resources) == []
    with pytest.raises(NotFound):
        await imports.get(TEAM, "shop")


async def test_racing_writers_lose_nothing(store, resources):
    """Imports, services and edits by hand at the same time are all there afterwards."""
    imports, expose = Imports(store, resources), Expose(store, resources)
    await expose.run(ME, TEAM, ExposeOptions("root", "http://127.0.0.1:1", "/"))

    async def edit() -> None:
        for number in range(5):
            route = {"match": {"path": {"exact": f"/hand/{number}"}}, "direct_response": {"status": 200}}
            await resources.apply(ME, TEAM, [Change("create", "route", f"gateway/default/hand-{number}", route)])

    await asyncio.gather(
        edit(),
        *(imports.run(ME, TEAM, _raw(f"/{name}", f"/{name}/x"), ImportOptions(name=name)) for name in "abc"),
        *(expose.run(ME, TEAM, ExposeOptions(f"s{n}", "http://127.0.0.1:1", f"/s{n}")) for n in range(3)),
    )
    found = await _routes(resources)
    assert len(found) == len(set(found)) == 1 + 5 + 6 + 3
    managed = [name for name in found if not name.startswith("hand")]
    assert managed == [*sorted(managed[:-1], key=lambda name: (name[0] != "s", name)), "root"]


async def test_the_source_keeps_no_secrets(store, resources):
    """Of the URL a document came from, neither password nor query is kept."""
    imports = Imports(store, resources)
    raw = json.dumps(document(servers=[{"url": "/v1"}])).encode()
    await imports.run(
        ME, TEAM, raw, ImportOptions(name="shop", source_url="https://u:secret@a.example/o.json?t=secret")
    )
    stored = await imports.get(TEAM, "shop")
    assert stored.options["source_url"] == "https://a.example/o.json"
    assert "secret" not in repr(stored)

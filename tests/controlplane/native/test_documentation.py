"""The OpenAPI document, the JSON Schemas and the page that shows them."""

import re

import pytest
from pydantic import TypeAdapter

from headgate.controlplane.core.merge import merge_patch
from headgate.controlplane.core.validation import MODELS
from headgate.controlplane.native import examples
from headgate.controlplane.native.bodies import checked
from headgate.controlplane.native.changes import ManyChanges
from headgate.controlplane.native.shapes import components
from headgate.controlplane.native.tokens import NewToken
from tests.controlplane.native.samples import cluster, listener, provide, route_config

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _document(running):
    return (await running.client.get("/openapi.json")).json()


def _operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


async def test_operation_ids_are_unique_and_every_operation_is_described(running):
    """No two operations share an id; each has a summary, a heading, the bearer scheme and its problems."""
    document = await _document(running)
    operations = dict(_operations(document))
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 40
    headings = {tag["name"] for tag in document["tags"]}
    for name, operation in operations.items():
        assert operation["summary"], name
        assert set(operation["tags"]) <= headings, name
        assert list(operation["security"][0]) == ["bearer"], name
        assert {"400", "401", "404", "default"} <= set(operation["responses"]), name
        assert "422" not in operation["responses"], name
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_bodies_have_schemas_and_examples(running):
    """Every operation that takes a body shows its schema, an example of an object, and answers 413 and 415."""
    for name, operation in _operations(await _document(running)):
        if "requestBody" not in operation:
            continue
        for media in operation["requestBody"]["content"].values():
            assert media["schema"], name
            assert media["schema"].get("type") == "string" or media.get("example"), name
        assert {"413", "415"} <= set(operation["responses"]), name


async def test_every_reference_resolves(running):
    """No `$ref` of the document leads nowhere, and no schema is there for nothing."""
    document = await _document(running)
    found = set(re.findall(r'"\$ref":"#/components/([^"]+)"', (await running.client.get("/openapi.json")).text))
    there = {f"{section}/{name}" for section in ("schemas", "responses") for name in document["components"][section]}
    assert found <= there
    assert there - found == set()


async def test_examples_are_valid():
    """Each example is a document that the API would take."""
    for kind, spec in examples.SPECS.items():
        MODELS[kind].model_validate(spec)
        if kind != "secret":
            MODELS[kind].model_validate(merge_patch(spec, examples.PATCHES[kind]))
    checked(ManyChanges, examples.CHANGES)
    checked(NewToken, examples.NEW_TOKEN)


async def test_what_is_answered_has_the_shape_that_is_documented(api, running, pem):
    """Real answers of every shape validate against the documented one, strictly."""
    shapes = {model.__name__: TypeAdapter(model, config=None) for model in components()}
    await provide(api)
    await api.put("/listeners/l", json=listener(19_100))
    await api.put("/secrets/s", json={"tls_certificate": pem})
    made = await running.client.post("/api/v1/tokens", json={"name": "t", "scopes": ["*:read"]})
    answers = {
        "ClusterResource": await api.get("/clusters/orders"),
        "ClusterPage": await api.get("/clusters"),
        "RouteConfigResource": await api.get("/route-configs/web"),
        "RouteConfigPage": await api.get("/route-configs"),
        "RouteResource": await api.get("/route-configs/web/virtual-hosts/all/routes/one"),
        "RoutePage": await api.get("/route-configs/web/virtual-hosts/all/routes"),
        "ListenerResource": await api.get("/listeners/l"),
        "ListenerPage": await api.get("/listeners"),
        "SecretResource": await api.get("/secrets/s"),
        "SecretPage": await api.get("/secrets"),
        "RevisionPage": await api.get("/revisions"),
        "RevisionWithChanges": await api.get("/revisions/1"),
        "AuditPage": await api.get("/audit"),
        "DataplanePage": await api.get("/dataplanes"),
        "Outcome": await api.put("/clusters/x?dry_run=true", json=cluster()),
        "CreatedToken": made,
        "TokenPage": await running.client.get("/api/v1/tokens"),
        "TeamPage": await running.client.get("/api/v1/teams"),
        "WhoAmI": await running.client.get("/api/v1/whoami"),
        "Problem": await api.put("/route-configs/web", json=route_config({})),
    }
    for name, answer in answers.items():
        shapes[name].validate_json(answer.content)
        known = set(shapes[name].json_schema()["properties"])
        assert set(answer.json()) <= known, name


@pytest.mark.parametrize("kind", ["clusters", "route-configs", "routes", "listeners", "secrets"])
async def test_schemas_are_json_schema(api, kind):
    """Each kind has a JSON Schema which refuses unknown fields and tells what each field means."""
    answer = await api.get(f"/schemas/{kind}")
    assert answer.headers["content-type"] == "application/schema+json"
    schema = answer.json()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False


async def test_the_page_needs_nothing_from_elsewhere(running):
    """Page, script and style are served from here, and the policy lets the browser fetch nothing from anywhere else."""
    page = await running.client.get("/swagger-ui")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "default-src 'none'" in policy
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    assert not re.search(r"<script(?![^>]*src)", page.text)
    for link in links:
        assert link.startswith("/swagger-ui/")
        answer = await running.client.get(link)
        assert (answer.status_code, len(answer.content) > 100) == (200, True), link
    assert "//" not in (await running.client.get("/swagger-ui/start.js")).text
    assert (await running.client.get("/swagger-ui/")).status_code == 308

"""No operation is open by mistake: every one of them is tried without a token, and with one that lacks the scope."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Route

from headgate.controlplane.app import build_app, openapi
from headgate.testing.controlplane import RunningControlPlane, running_control_plane

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBES = {"/health", "/healthz", "/ready", "/readyz"}
"""What the kit's controls answer, before the application is asked. This list may only shrink."""

DOCUMENTATION = {
    "/openapi.json",
    "/swagger-ui",
    "/swagger-ui/",
    "/swagger-ui/start.js",
    "/swagger-ui/swagger-ui-bundle.js",
    "/swagger-ui/swagger-ui.css",
    "/swagger-ui/favicon.png",
}
"""Paths that answer without a token, and that are no operation of the API. This list may only shrink."""

UNSCOPED = {"whoAmI", "getSchema", "applyChanges"}
"""Operations that any valid token may call; applyChanges asks for the scope of each kind it is sent."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningControlPlane]:
    """A control plane."""
    async with running_control_plane(tmp_path_factory.mktemp("guarded")) as started:
        yield started


@pytest.fixture
def document(running: RunningControlPlane) -> dict[str, Any]:
    """The OpenAPI document of the whole application."""
    return openapi(build_app(running.plane.settings, running.plane.cases))


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), re.sub(r"\{[^}]*\}", "1", path), operation


async def _call(client: httpx.AsyncClient, method: str, path: str, operation: dict[str, Any]) -> httpx.Response:
    content = next(iter(operation.get("requestBody", {}).get("content", {})), None)
    headers = {"content-type": content} if content else {}
    return await client.request(method, path, headers=headers, content=b"{}" if content else None)


async def test_every_operation_refuses_callers_without_a_token(running, document):
    """Without a token, and with an unknown one, every operation is 401."""
    for token in (None, f"hg_{'x' * 43}"):
        async with running.client_for(token) as client:
            for method, path, operation in _operations(document):
                answer = await _call(client, method, path, operation)
                assert answer.status_code == 401, f"{method} {path}: {answer.text}"
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_every_operation_refuses_tokens_without_its_scope(running, document):
    """With a token that has every other scope, an operation is 403 and names the scope that is missing."""
    scopes = {scope for _, _, operation in _operations(document) for scope in operation["security"][0]["bearer"]}
    for scope in sorted(scopes):
        body = {"name": "all but one", "scopes": sorted(scopes - {scope})}
        made = await running.client.post("/api/v1/tokens", json=body)
        async with running.client_for(made.json()["token"]) as client:
            for method, path, operation in _operations(document):
                if scope in operation["security"][0]["bearer"]:
                    answer = await _call(client, method, path, operation)
                    assert answer.status_code == 403, f"{method} {path}: {answer.text}"
                    assert scope in answer.json()["detail"]


async def test_every_operation_names_its_scope(document):
    """An operation without a scope is on the list of those that need none, and writes need a scope that writes."""
    for method, path, operation in _operations(document):
        scopes = operation["security"][0]["bearer"]
        assert bool(scopes) is (operation["operationId"] not in UNSCOPED), f"{method} {path}"
        for scope in scopes:
            assert scope.endswith(":read" if method == "GET" else ":write"), f"{method} {path}: {scope}"


async def test_every_path_is_documented_or_listed(running, document):
    """What the application answers is in the document or on the list of what is not."""
    app = build_app(running.plane.settings, running.plane.cases)
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            assert context.path_format in document["paths"], context.path_format
        else:
            assert isinstance(route, Route), route
            assert route.path in DOCUMENTATION, route.path


async def test_only_what_is_listed_is_public(running):
    """Without a token, what is listed as public answers, and nothing beside or below it does."""
    async with running.client_for(None) as client:
        for path in PROBES | DOCUMENTATION:
            assert (await client.get(path)).status_code < 400, path
        for path in (
            "/metrics",
            "/health/x",
            "/ready/",
            "/docs",
            "/openapi.json/",
            "/",
            "//health",
            "/HEALTH",
        ):
            assert (await client.get(path)).status_code == 401, path


async def test_documentation_and_metrics_can_be_opened_and_closed(tmp_path):
    """`docs_public` off takes the documentation away for all, `metrics_public` on asks no token for the metrics."""
    async with (
        running_control_plane(tmp_path, docs_public=False, metrics_public=True) as other,
        other.client_for(None) as client,
    ):
        assert (await client.get("/metrics")).status_code == 200
        for path in ("/openapi.json", "/swagger-ui", "/swagger-ui/start.js"):
            for caller in (client, other.client):
                assert (await caller.get(path)).status_code == 404, path


async def test_documentation_may_ask_for_a_token(tmp_path):
    """Documentation that `docs_paths` does not name is there for the holders of tokens."""
    async with (
        running_control_plane(tmp_path, docs_paths="/openapi.json") as other,
        other.client_for(None) as client,
    ):
        assert (await client.get("/openapi.json")).status_code == 200
        for path in ("/swagger-ui", "/swagger-ui/start.js"):
            assert (await client.get(path)).status_code == 401, path
            assert (await other.client.get(path)).status_code == 200, path

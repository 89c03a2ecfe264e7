"""The Platform API: whole APIs and services over HTTP, for those who do not care how Envoy is configured.

Everything here is made of the rows that the Native API shows, in the same revisions.
"""

from typing import Any

from fastapi import APIRouter

from headgate.controlplane.core.caller import Authorise
from headgate.controlplane.core.expose import Expose
from headgate.controlplane.core.imports import Imports
from headgate.controlplane.platform.apis import add_apis
from headgate.controlplane.platform.expose import add_expose
from headgate.controlplane.platform.imports import add_import
from headgate.controlplane.web.queries import StrictRoute

PLATFORM = "/api/v1/platform"

TAGS: list[dict[str, Any]] = [
    {"name": "APIs", "description": "Publish what an OpenAPI document describes; import it again to update."},
    {"name": "Exposed services", "description": "Publish a URL under a path of the gateway."},
]


def platform_routers(imports: Imports, expose: Expose, authorise: Authorise) -> list[APIRouter]:
    """The operations, a router for each heading of the documentation."""
    apis, services = (APIRouter(prefix=PLATFORM, tags=[tag["name"]], route_class=StrictRoute) for tag in TAGS)
    add_import(apis, imports, authorise)
    add_apis(apis, imports, authorise)
    add_expose(services, expose, authorise)
    return [apis, services]

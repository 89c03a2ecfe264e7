"""Documents and clients made of contracts, and what serves them.

    openapi([Orders.contract()], title="Shop")      # OpenAPI 3.1
    asyncapi([Orders.contract()])                   # AsyncAPI 3.0
    mcp_tools([Orders.contract()])                  # tools of the Model Context Protocol
    python_client(Orders.contract())                # source of a module for `headgate.service.client`
    typescript_client(Orders.contract())            # source of a module without dependencies

    docs = docs_routes([Orders.contract()])         # /docs, /openapi.json, /asyncapi.json, /contract.json
    HttpWire(hosted, extra={**{prefix: docs for prefix in docs.prefixes}, "/mcp": McpWire(hosted)})

All but the applications are pure functions, of contracts or of their documents: what was fetched from another process
serves as well. Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from headgate.service.docs.asyncapi_document import asyncapi
    from headgate.service.docs.mcp import mcp_tools
    from headgate.service.docs.mcp_wire import McpWire
    from headgate.service.docs.openapi_document import openapi
    from headgate.service.docs.python import python_client
    from headgate.service.docs.routes import Docs, docs_routes
    from headgate.service.docs.typescript import typescript_client

__all__ = [
    "Docs",
    "McpWire",
    "asyncapi",
    "docs_routes",
    "mcp_tools",
    "openapi",
    "python_client",
    "typescript_client",
]

_HOMES: Final = {
    "Docs": "routes",
    "McpWire": "mcp_wire",
    "asyncapi": "asyncapi_document",
    "docs_routes": "routes",
    "mcp_tools": "mcp",
    "openapi": "openapi_document",
    "python_client": "python",
    "typescript_client": "typescript",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found

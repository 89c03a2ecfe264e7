"""`/swagger-ui`: the API's documentation to click through, from files on this machine.

Nothing is fetched from elsewhere, and the page says so in its content security policy: scripts come from
here only, and none stands in the HTML.
"""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

DOCUMENT = "/openapi.json"
PAGE = "/swagger-ui"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Headgate API</title>
<link rel="icon" type="image/png" href="/swagger-ui/favicon.png">
<link rel="stylesheet" href="/swagger-ui/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/swagger-ui/swagger-ui-bundle.js"></script>
<script src="/swagger-ui/start.js"></script>
</body>
</html>
"""

_START = """window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: false,
    tryItOutEnabled: false,
    validatorUrl: null,
  });
});
"""

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


def swagger_routes(document: Callable[[], Any]) -> list[Route]:
    """The page, its files and the OpenAPI document, which `document` answers with."""
    static = Path(str(files("fastapi_offline"))) / "static"

    async def show(_request: Request) -> Response:
        return Response(_HTML, media_type="text/html", headers=_HEADERS)

    async def start(_request: Request) -> Response:
        return Response(_START, media_type="text/javascript", headers=_HEADERS)

    async def slash(_request: Request) -> Response:
        return RedirectResponse(PAGE, status_code=308)

    def serve(name: str, media_type: str) -> Route:
        async def file(_request: Request) -> Response:
            headers = {"Cache-Control": "max-age=3600", **_HEADERS}
            return FileResponse(static / name, media_type=media_type, headers=headers)

        return Route(f"{PAGE}/{name}", file)

    return [
        Route(DOCUMENT, document),
        Route(PAGE, show),
        Route(f"{PAGE}/", slash),
        Route(f"{PAGE}/start.js", start),
        *(serve(name, media_type) for name, media_type in _FILES.items()),
    ]

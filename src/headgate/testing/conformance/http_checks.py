"""What every hardened service promises over HTTP, whatever it does."""

from headgate.testing.conformance.suite import Target, check
from headgate.testing.conformance.wire import ask, client, expect, expect_dressed, expect_problem, final, head, raw

NOWHERE = "/conformance-nowhere"


@check("any")
async def check_unknown_path(target: Target) -> None:
    """A path that is not there is a problem document with every header an answer has."""
    expect_problem(await ask(target, "GET", NOWHERE), 404, "path_not_found")


@check("any")
async def check_request_id_kept(target: Target) -> None:
    """A well-formed request id comes back as it was."""
    response = await ask(target, "GET", NOWHERE, headers={"x-request-id": "conformance-1.a_B"})
    expect(response.headers.get("x-request-id") == "conformance-1.a_B", "another id came back")


@check("any")
async def check_request_id_checked(target: Target) -> None:
    """An id that is too long or of strange characters is replaced, never reflected."""
    for bad in ("a" * 4_000, "a b", "<script>"):
        response = await ask(target, "GET", NOWHERE, headers={"x-request-id": bad})
        expect(bad not in response.headers.get("x-request-id", bad), f"{bad[:20]!r} was reflected")


@check("any")
async def check_liveness(target: Target) -> None:
    """`/health` answers without credentials, with the headers of every answer."""
    response = await ask(Target(target.url), "GET", "/health")
    expect(response.status_code == 200, f"status {response.status_code}")
    expect_dressed(response)


@check("any")
async def check_readiness(target: Target) -> None:
    """`/ready` says whether it is ready, and why."""
    response = await ask(Target(target.url), "GET", "/ready")
    expect(response.status_code in {200, 503}, f"status {response.status_code}")
    expect("checks" in response.json(), "it lists no checks")


@check("any")
async def check_head(target: Target) -> None:
    """HEAD is answered like GET, without a body."""
    response = await ask(target, "HEAD", "/health")
    expect((response.status_code, response.content) == (200, b""), f"{response.status_code} {response.content!r}")


@check("any")
async def check_announced_body(target: Target) -> None:
    """A body announced as too large is refused before it is read."""
    request = head(target, "POST", NOWHERE, f"Content-Length: {target.max_body_size + 1}", "Expect: 100-continue")
    answer = final(await raw(target, request))
    expect(b" 413 " in answer.split(b"\r\n")[0], f"{answer[:60]!r}")
    expect(b"x-request-id" in answer.lower(), "the refusal has no request id")


@check("any")
async def check_malformed_length(target: Target) -> None:
    """A Content-Length that is no number is refused with 400."""
    answer = await raw(target, head(target, "POST", NOWHERE, "Content-Length: ten"))
    expect(b" 400 " in answer.split(b"\r\n")[0], f"{answer[:60]!r}")


@check("any")
async def check_documentation_hidden(target: Target) -> None:
    """Documentation pages are not there for strangers."""
    for path in ("/docs", "/redoc", "/openapi.json", "/schema/openapi.json"):
        response = await ask(target, "GET", path)
        expect(response.status_code in {401, 404}, f"{path} answers {response.status_code}")


@check("any")
async def check_foreign_origin(target: Target) -> None:
    """A page of another site is not told that it may read the answer."""
    response = await ask(target, "GET", NOWHERE, headers={"origin": "https://evil.example"})
    allowed = response.headers.get("access-control-allow-origin")
    expect(allowed not in {"*", "https://evil.example"}, f"allowed for {allowed}")


@check("any")
async def check_hsts_needs_https(target: Target) -> None:
    """Strict-Transport-Security is sent over HTTPS only, and strangers cannot claim HTTPS."""
    response = await ask(target, "GET", NOWHERE, headers={"x-forwarded-proto": "https", "forwarded": "proto=https"})
    sent = "strict-transport-security" in response.headers
    expect(sent is target.url.startswith("https:"), f"sent: {sent}")


@check("any")
async def check_malformed_timeout(target: Target) -> None:
    """A timeout that cannot be read is refused, not ignored."""
    response = await ask(target, "GET", NOWHERE, headers={"x-request-timeout-ms": "soon"})
    expect_problem(response, 400, "malformed_timeout")


@check("any")
async def check_connection_lives(target: Target) -> None:
    """Refusals leave the connection fit for the next request."""
    async with client(target) as http:
        for _ in range(3):
            expect_problem(await http.get(NOWHERE), 404)

"""expose, import and apis: what is sent, and what is shown."""

import gzip
import io
import json
import sys

import pytest

from headgate.cli import documents
from tests.cli.api import lines, problem
from tests.cli.test_status import DATAPLANE, DATAPLANES, page

IMPORT = "POST /api/v1/platform/import/openapi"
EXPOSE = "POST /api/v1/platform/expose"
GATEWAY = {
    "listener": "gateway",
    "url": "http://127.0.0.1:10000",
    "route_config": "gateway",
    "virtual_host": "default",
    "domains": ["*"],
}
DIFF = {"kind": "route", "name": "gateway/default/pets", "before": None, "after": {}, "etag": '"7"', "what": "created"}
OUTCOME = {"team": "default", "revision": 7, "dry_run": False, "changed": True, "diffs": [DIFF]}
REPORT = {
    "name": "pets",
    **OUTCOME,
    "document": {"title": "Pets", "version": "1", "openapi": "3.0.3", "sha256": "00"},
    "gateway": GATEWAY,
    "totals": {"operations": 2, "routed": 1, "not_routed": 1},
    "operations": [
        {"method": "GET", "path": "/pets", "pointer": "", "operation_id": "", "routed": True},
        {
            "method": "GET",
            "path": "/x/{a}",
            "pointer": "/paths/x",
            "operation_id": "",
            "routed": False,
            "code": "taken",
            "reason": "its requests go to the route 'y' of nobody but people",
            "hint": "Serve the API under a path (--path) of its own.",
        },
    ],
    "servers": [{"pointer": "/servers/0", "url": "ftp://x", "status": "unusable", "cluster": "", "reason": "no HTTP"}],
    "notes": [{"code": "n", "message": "is ignored", "pointer": "/paths/x"}],
}


@pytest.fixture
def spec(tmp_path):
    """A document."""
    file = tmp_path / "pets.json"
    file.write_text('{"openapi": "3.0.3"}')
    return file


def stdin(monkeypatch, content):
    """Give the command a standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_expose(headgate, api):
    """What was given is sent, what was not is left to the API, and the address is printed."""
    api.answers[EXPOSE] = {"name": "hello", "url": "http://127.0.0.1:10000/hello", **OUTCOME, "notes": []}
    result = headgate("expose", "http://127.0.0.1:3001", "--name", "hello", "--domain", "a.example")
    assert result.code == 0
    assert "is published at http://127.0.0.1:10000/hello\n" in result.out
    sent = {"name": "hello", "url": "http://127.0.0.1:3001", "domain": "a.example"}
    assert api.last("POST").json == sent


def test_expose_dry_run(headgate, api):
    """A dry run does not wait for anybody."""
    api.answers |= {
        EXPOSE: {"name": "h", "url": "http://g/h", **OUTCOME, "dry_run": True, "notes": [{"message": "kept"}]},
        DATAPLANES: problem(500, "internal", "nobody may ask"),
    }
    result = headgate("expose", "http://127.0.0.1:3001", "--name", "h", "--dry-run")
    assert result.code == 0
    assert "would be published" in result.out
    assert "note: kept" in result.out
    assert api.last("POST").query["dry_run"] == "true"


def test_unexpose(headgate, api):
    """Taking back needs a yes and says what went."""
    api.answers["DELETE /api/v1/platform/expose/hello"] = {**OUTCOME, "diffs": [{**DIFF, "what": "deleted"}]}
    assert headgate("unexpose", "hello").code == 2
    assert "- route gateway/default/pets" in headgate("unexpose", "hello", "--yes").out


def test_import_report(headgate, api, spec):
    """The progress is followed, and the report accounts for what is not routed, with reasons and hints."""
    api.answers[IMPORT] = lambda _: lines(
        {"progress": {"stage": "planning", "done": 1, "total": 2}}, {"report": REPORT}
    )
    result = headgate("import", "openapi", spec, "--upstream", "http://127.0.0.1:1", "--path", "/v1")
    assert result.code == 0, result.err
    sent = api.last("POST")
    assert sent.query == {"upstream": "http://127.0.0.1:1", "path": "/v1", "dry_run": "false"}
    assert sent.headers["accept"] == "application/x-ndjson"
    assert sent.headers["content-type"] == "application/json"
    lost = next(line for line in result.out.splitlines() if "/x/{a}" in line)
    assert lost.split()[:4] == ["GET", "/x/{a}", "its", "requests"]
    assert "hint: Serve the API under a path" in result.out
    assert "note: server ftp://x is not used: no HTTP" in result.out
    assert "+ route gateway/default/pets" in result.out


def test_import_that_removes_needs_a_yes(headgate, api, spec, monkeypatch):
    """Where nobody can be asked, an import that would remove routes is refused and sends only its plan."""
    removing = {**REPORT, "dry_run": True, "diffs": [{**DIFF, "what": "deleted"}]}
    api.answers[IMPORT] = lambda _: lines({"report": removing})
    stdin(monkeypatch, b"")
    result = headgate("import", "openapi", spec)
    assert (result.code, "- gateway/default/pets" in result.err) == (2, True)
    assert "This is no terminal to ask on: add --yes." in result.err
    assert [asked.query["dry_run"] for asked in api.asked if asked.method == "POST"] == ["true"]


def test_import_problem_at_the_end(headgate, api, spec):
    """A refusal that comes after progress was told is a refusal like any other."""
    refusal = {"status": 409, "detail": "all taken", "code": "all_taken", "hint": "--path", "errors": []}
    api.answers[IMPORT] = lambda _: lines(
        {"progress": {"stage": "reading", "done": 0, "total": 1}}, {"problem": refusal}
    )
    result = headgate("import", "openapi", spec)
    assert (result.code, result.err) == (3, "error: all taken\nhint: --path\n")


def test_import_that_breaks_off(headgate, api, spec):
    """A stream that ends without a report is a failure."""
    api.answers[IMPORT] = lambda _: lines({"progress": {"stage": "reading", "done": 0, "total": 1}})
    result = headgate("import", "openapi", spec)
    assert (result.code, "without a report" in result.err) == (1, True)


def test_import_refused_at_once(headgate, api, spec):
    """A problem instead of a stream is shown too."""
    api.answers[IMPORT] = problem(400, "unsupported_media_type", "not this")
    assert headgate("import", "openapi", spec).code == 3


def test_import_as_json(headgate, api, spec):
    """With --output json the report is printed as it came."""
    api.answers[IMPORT] = lambda _: lines({"progress": {"stage": "r", "done": 0, "total": 1}}, {"report": REPORT})
    assert json.loads(headgate("-o", "json", "import", "openapi", spec).out) == REPORT


@pytest.mark.parametrize("packed", [False, True])
def test_import_from_standard_input(headgate, api, monkeypatch, packed):
    """- reads standard input, gzipped or not; YAML is sent as YAML."""
    api.answers |= {
        IMPORT: lambda _: lines({"report": REPORT}),
        "GET /api/v1/platform/apis/pets": problem(403, "permission_denied", "may not read"),
    }
    content = b"openapi: 3.0.3\n"
    stdin(monkeypatch, gzip.compress(content) if packed else content)
    assert headgate("import", "openapi", "-", "--name", "pets").code == 0
    assert api.last("POST").body == content
    assert api.last("POST").headers["content-type"] == "application/yaml"


def test_import_from_this_machine(headgate, api):
    """A URL on this machine is fetched, and named as where the document came from."""
    api.answers |= {"GET /spec.json": {"openapi": "3.1.0"}, IMPORT: lambda _: lines({"report": REPORT})}
    assert headgate("import", "openapi", f"{api.url}/spec.json").code == 0
    assert api.last("POST").json == {"openapi": "3.1.0"}
    assert api.last("POST").query["source_url"] == f"{api.url}/spec.json"


@pytest.mark.parametrize("url", ["http://example.com/a.json", "https://10.0.0.1/a", "http://127.0.0.1.example.com/"])
def test_import_from_elsewhere(headgate, api, url):
    """Documents are not fetched from other machines, and it is said how to do it oneself."""
    result = headgate("import", "openapi", url)
    assert result.code == 2
    assert f"curl -sSf {url} | headgate import openapi -" in result.err
    assert api.asked == []


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "there is no file"), (b"  \n", "is empty"), (b"\x1f\x8b\x08broken", "is not gzip")],
)
def test_import_of_nothing(headgate, api, tmp_path, content, why):
    """A file that cannot be a document is refused before the API is asked."""
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content)
    result = headgate("import", "openapi", file)
    assert (result.code, why in result.err, api.asked) == (2, True, [])


def test_import_of_a_bomb(headgate, api, tmp_path, monkeypatch):
    """What unpacks to too much is refused, and is not unpacked whole."""
    monkeypatch.setattr(documents, "LARGEST", 1000)
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(b" " * 100_000 + b"{}"))
    result = headgate("import", "openapi", file)
    assert (result.code, "larger than" in result.err) == (2, True)


def test_failed_fetch(headgate, api):
    """A URL on this machine that does not answer well is a failure."""
    assert headgate("import", "openapi", f"{api.url}/missing.json").code == 1
    assert headgate("import", "openapi", "http://127.0.0.1:9/a.json").code == 1


def test_apis(headgate, api):
    """Imported APIs are listed, shown and deleted."""
    entry = {
        "name": "pets",
        "title": "Pets",
        "version": "1",
        "openapi": "3.0.3",
        "operation_count": 2,
        "routed": 1,
        "not_routed": 1,
        "updated_at": "2026-01-01T00:00:00Z",
    }
    api.answers |= {
        "GET /api/v1/platform/apis": page(entry),
        "GET /api/v1/platform/apis/pets": {**entry, "operations": []},
        "DELETE /api/v1/platform/apis/pets": OUTCOME,
        DATAPLANES: page(DATAPLANE),
    }
    assert "Pets" in headgate("apis", "list").out
    assert "operations: []" in headgate("apis", "get", "pets").out
    assert headgate("apis", "delete", "pets").code == 2
    assert headgate("apis", "delete", "pets", "--yes").code == 0


def test_a_server_with_small_pages(headgate, api):
    """A server that allows fewer items on a page than asked for is asked with its own default."""
    small = problem(400, "invalid_query", "at most 10")
    api.answers["GET /api/v1/platform/apis"] = lambda asked: small if "limit" in asked.query else page()
    assert headgate("apis", "list").out.startswith("no APIs")

"""What the Platform API answers with: plain documents, written by orjson."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
from starlette.responses import Response

from headgate.controlplane.core.changes import Diff, Outcome
from headgate.controlplane.core.expose import Exposed, ExposeReport
from headgate.controlplane.core.gateway import Spot
from headgate.controlplane.core.import_report import ImportedApi, ImportReport, account_document, totals
from headgate.controlplane.core.publication import Placement

REVISION_HEADER = "Headgate-Revision"
"""On the answer to every write: the team's revision after it."""


def encode(document: Any) -> bytes:
    """JSON; times are RFC 3339 in UTC."""
    return orjson.dumps(document, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def answer(document: Mapping[str, Any]) -> Response:
    """The response to a read."""
    return Response(encode(document), media_type="application/json")


def written(document: Mapping[str, Any]) -> Response:
    """The response to a write."""
    headers = {REVISION_HEADER: str(document["revision"])}
    return Response(encode(document), media_type="application/json", headers=headers)


def outcome(done: Outcome) -> dict[str, Any]:
    """What a change did, or would do: what is different, resource by resource."""
    return {
        "team": done.team,
        "revision": done.revision,
        "dry_run": done.dry_run,
        "changed": done.changed,
        "diffs": [_diff(diff) for diff in done.diffs if diff.what != "unchanged"],
    }


def _diff(diff: Diff) -> dict[str, Any]:
    return {name: getattr(diff, name) for name in ("kind", "name", "what", "before", "after", "etag")}


def _gateway(spot: Spot) -> dict[str, Any]:
    return {
        "listener": spot.listener,
        "url": spot.url,
        "route_config": spot.route_config,
        "virtual_host": spot.virtual_host,
        "domains": list(spot.domains),
    }


def _placement(placement: Placement | None) -> dict[str, str]:
    names = ("listener", "route_config", "virtual_host")
    return {name: getattr(placement, name) if placement else "" for name in names}


def import_report(report: ImportReport) -> dict[str, Any]:
    """What an import did, or would do."""
    document = report.document
    return {
        "name": report.name,
        **outcome(report.outcome),
        "document": {
            "title": document.title,
            "version": document.api_version,
            "openapi": document.version,
            "sha256": report.document_hash,
        },
        "gateway": _gateway(report.spot),
        "totals": totals(report.accounts),
        "operations": [account_document(account) for account in report.accounts],
        "servers": [asdict(server) for server in report.servers],
        "notes": [asdict(note) for note in report.notes],
    }


def imported_api(api: ImportedApi, *, whole: bool) -> dict[str, Any]:
    """An imported API; with the account of every operation when it is shown whole."""
    summary = api.summary
    shown = {
        "name": api.name,
        "title": summary.get("title", ""),
        "version": summary.get("version", ""),
        "openapi": summary.get("openapi", ""),
        **summary.get("totals", {}),
        "sha256": api.document_hash,
        "options": api.options,
        "gateway": _placement(api.placement),
        "revision": api.revision,
        "created_at": api.created_at,
        "updated_at": api.updated_at,
    }
    shown["operation_count"] = shown.pop("operations", 0)
    if whole:
        shown |= {"clusters": api.clusters, "routes": api.routes, "operations": summary.get("operations", [])}
    return shown


def expose_report(report: ExposeReport) -> dict[str, Any]:
    """What exposing did, or would do."""
    return {
        "name": report.options.name,
        "url": report.url,
        **outcome(report.outcome),
        "gateway": _gateway(report.spot),
        "notes": [
            {"code": "edit_kept", "message": f"set by hand, and kept: {edit}", "pointer": ""} for edit in report.edits
        ],
    }


def exposed(service: Exposed) -> dict[str, Any]:
    """An exposed service. `upstream` is the URL that is published."""
    options = service.options
    return {
        "name": options.name,
        "upstream": options.url,
        "path": options.path,
        "domain": options.domain,
        "gateway": _placement(service.placement),
        "revision": service.revision,
        "created_at": service.created_at,
        "updated_at": service.updated_at,
    }

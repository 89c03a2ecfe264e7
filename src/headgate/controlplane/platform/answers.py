"""What the Platform API shows of imports and exposed services."""

from dataclasses import asdict
from typing import Any

from headgate.controlplane.core.expose import Exposed, ExposeReport
from headgate.controlplane.core.gateway import Spot
from headgate.controlplane.core.import_report import ImportedApi, ImportReport, account_document, totals
from headgate.controlplane.core.publication import Placement
from headgate.controlplane.web.answers import outcome


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
        **outcome(report.outcome, unchanged=False),
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
        **outcome(report.outcome, unchanged=False),
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

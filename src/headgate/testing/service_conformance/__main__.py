"""Check an application of services: `python -m headgate.testing.service_conformance MODULE:APP`."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from headgate.kit.controls.faults import Fault
from headgate.service.app import App
from headgate.testing.conformance.running import load
from headgate.testing.service_conformance import WAYS, Outcome, Site, Way, application, reference, run_rules
from headgate.testing.service_conformance.reference import Reference

WIRES = tuple(dict.fromkeys(each.wire for each in WAYS))
EVERY = ("any", "reference", "hops", "events")


def main(argv: Sequence[str] | None = None) -> int:
    """Print each rule and whether it holds. Returns 0 when all hold, 1 when one does not, 2 for a bad target."""
    parser = argparse.ArgumentParser(prog="python -m headgate.testing.service_conformance", description=__doc__)
    parser.add_argument(
        "target", nargs="?", default="", help="MODULE:APP to start; without it the reference service is checked"
    )
    parser.add_argument("--wire", action="append", choices=WIRES, help="wires to check (default: all that it serves)")
    parser.add_argument("--nats", default="", metavar="URL", help="server for the wire nats; without it one is started")
    parser.add_argument("--quiet", action="store_true", help="say only what does not hold")
    asked = parser.parse_args(argv)
    try:
        app = _app_at(asked.target) if asked.target else None
        with _nats(asked.nats, asked.wire or WIRES) as url:
            outcomes = asyncio.run(_run(app, asked.wire or WIRES, url, quiet=asked.quiet))
    except (Fault, ImportError, AttributeError, TypeError) as error:
        sys.stderr.write(f"{asked.target or 'the reference service'} cannot be checked: {error}\n")
        return 2
    failed = sum(not each.holds for each in outcomes)
    sys.stdout.write(f"{len(outcomes) - failed} rules hold, {failed} do not\n")
    return 1 if failed or not outcomes else 0


def _app_at(path: str) -> App:
    found = load(path)
    if not isinstance(found, App):
        raise TypeError(f"it is a {type(found).__name__}, not an App of services")
    return found


def _nats(url: str, wires: Iterable[str]) -> Any:
    """The URL of a server: that one, or one that is started for the wire; "" where it is not asked for."""
    if url or "nats" not in wires:
        return nullcontext(url)
    return _started()


class _started:  # noqa: N801 - reads as what it does
    def __enter__(self) -> str:
        from headgate.testing.nats import Nats

        try:
            self._server: Any = Nats()
        except ImportError as error:
            self._server = None
            sys.stderr.write(f"nats is left out: {error}\n")
            return ""
        self._server.start()
        return str(self._server.url)

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()


async def _run(app: App | None, wires: Iterable[str], nats: str, *, quiet: bool) -> list[Outcome]:
    def tell(outcome: Outcome) -> None:
        if not (quiet and outcome.holds):
            _tell(outcome)

    outcomes: list[Outcome] = []
    for way in WAYS:
        if way.wire not in wires or (way.wire == "nats" and not nats):
            continue
        async with _site(app, way, nats) as site:
            if site is not None:
                own = any(isinstance(each.service, Reference) for each in site.hosted)
                outcomes += await run_rules(site, EVERY if own else ("any",), told=tell)
    return outcomes


@asynccontextmanager
async def _site(app: App | None, way: Way, nats: str) -> AsyncIterator[Site | None]:
    if app is None:
        from headgate.service.registry import MemoryRegistry

        registry = MemoryRegistry()
        async with reference(way, registry=registry, nats=nats) as site:
            yield site
        await registry.aclose()
        return
    if way.wire != "local" and way.wire not in app.settings.wires:
        yield None
        return
    changes: dict[str, Any] = {"rate_limit_default": "off"}
    if way.wire == "nats":
        changes["nats_url"] = nats
    settings = type(app.settings).model_validate({**dict(app.settings), **changes})
    async with application(app.like(settings=settings), way) as site:
        yield site


def _tell(outcome: Outcome) -> None:
    mark = "ok  " if outcome.holds else "FAIL"
    sys.stdout.write(f"{mark} {outcome.way} {outcome.rule.name}: {outcome.rule.text}\n")
    if outcome.why:
        sys.stdout.write(f"     {outcome.why}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("LOG_LEVEL", "CRITICAL")
    sys.exit(main())

"""Check a running service, or an application started for it: `python -m headgate.testing.conformance TARGET`."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from headgate.kit.controls.faults import Fault
from headgate.testing.conformance.running import running
from headgate.testing.conformance.suite import GROUPS, Outcome, Target, run_checks


def main(argv: Sequence[str] | None = None) -> int:
    """Print each rule and whether it holds. Returns 0 when all hold, 1 when one does not, 2 for a bad target."""
    parser = argparse.ArgumentParser(prog="python -m headgate.testing.conformance", description=__doc__)
    parser.add_argument("target", help="URL of a running service, or MODULE:APP to start")
    parser.add_argument("--grpc", default="", metavar="HOST:PORT", help="where it serves gRPC")
    parser.add_argument(
        "--group", action="append", choices=GROUPS, help="checks to run (default: any); all but `any` are for orders"
    )
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="sent with each request")
    asked = parser.parse_args(argv)
    headers = {name.strip(): value.strip() for name, _, value in (each.partition(":") for each in asked.header)}
    try:
        outcomes = asyncio.run(_run(asked.target, asked.grpc, headers, asked.group or ["any"]))
    except (Fault, ImportError, AttributeError) as error:
        sys.stderr.write(f"{asked.target} cannot be checked: {error}\n")
        return 2
    failed = sum(not outcome.passed for outcome in outcomes)
    sys.stdout.write(f"{len(outcomes) - failed} rules hold, {failed} do not\n")
    return 1 if failed or not outcomes else 0


async def _run(target: str, grpc: str, headers: dict[str, str], groups: list[str]) -> list[Outcome]:
    if target.startswith(("http://", "https://")):
        return await run_checks(Target(target, grpc, headers), groups, told=_tell)
    async with running(target, headers=headers) as started:
        return await run_checks(started, groups, told=_tell)


def _tell(outcome: Outcome) -> None:
    mark = "ok  " if outcome.passed else "FAIL"
    sys.stdout.write(f"{mark} {outcome.check.name}: {outcome.check.rule}\n")
    if outcome.why:
        sys.stdout.write(f"     {outcome.why}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

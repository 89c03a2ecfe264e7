"""Import of GitHub's OpenAPI document (1,223 operations) until its last route answers through Envoy."""

import asyncio
import gzip
import re
import sys
import time
from pathlib import Path

from benchmarks.platform import platform, until_answered
from benchmarks.report import at_most, exactly, observed, publish
from benchmarks.traffic import upstream

DOCUMENT = Path(__file__).parent.parent / "tests" / "corpus" / "github.json.gz"
OPERATIONS = 1_223


async def measure() -> int:
    """Import once, import again, and print the figures."""
    document = gzip.decompress(DOCUMENT.read_bytes())
    async with upstream("github") as port, platform() as running:
        query = f"name=github&upstream=http://127.0.0.1:{port}"
        headers = {"content-type": "application/json"}
        start = time.perf_counter()
        report = await running.call(
            "POST", f"/api/v1/platform/import/openapi?{query}", content=document, headers=headers
        )
        imported = time.perf_counter()
        routed = [entry for entry in report["operations"] if entry["routed"]]
        last = next(entry for entry in reversed(routed) if entry["method"] == "GET")
        answered = await until_answered(running.gateway_port, re.sub(r"\{[^}]*\}", "x", last["gateway_path"]))
        again_from = time.perf_counter()
        again = await running.call(
            "POST", f"/api/v1/platform/import/openapi?{query}", content=document, headers=headers
        )
        again_took = time.perf_counter() - again_from
    return publish(
        "gateway_import",
        [
            at_most("import until its last route answers", answered - start, "s", 5),
            observed("import call alone", imported - start, "s"),
            observed("same import again", again_took, "s"),
            exactly("operations accounted for", len(report["operations"]), "operations", OPERATIONS),
            exactly("changes made by the second import", again["changed"], "changes", 0),
        ],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(measure()))

"""How a benchmark says what it measured: a table for people, then one line of JSON for machines."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured value. `target` in words; `holds` whether it is met (None: there is no target)."""

    name: str
    value: float
    unit: str
    target: str = ""
    holds: bool | None = None


def at_most(name: str, value: float, unit: str, limit: float) -> Measure:
    """A measure that must not exceed `limit`."""
    return Measure(name, round(value, 3), unit, f"<= {limit:g}", value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Measure:
    """A measure that must not fall below `limit`."""
    return Measure(name, round(value, 3), unit, f">= {limit:g}", value >= limit)


def exactly(name: str, value: float, unit: str, wanted: float) -> Measure:
    """A measure that must be `wanted`."""
    return Measure(name, round(value, 3), unit, f"= {wanted:g}", value == wanted)


def observed(name: str, value: float, unit: str) -> Measure:
    """A measure without a target."""
    return Measure(name, round(value, 3), unit)


def machine() -> dict[str, str | int | None]:
    """Describe the machine a figure comes from."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered) + 0.5) - 1))]


def publish(name: str, measures: Sequence[Measure]) -> int:
    """Print the table and the JSON line; return 0 when every target holds, else 1."""
    width = max(len(measure.name) for measure in measures)
    print(f"\n{name}")
    for measure in measures:
        verdict = {True: "holds", False: "MISSED", None: ""}[measure.holds]
        print(f"  {measure.name:<{width}}  {measure.value:>12,.3f} {measure.unit:<12} {measure.target:<10} {verdict}")
    print(json.dumps({"name": name, "machine": machine(), "measures": [asdict(measure) for measure in measures]}))
    sys.stdout.flush()
    return int(any(measure.holds is False for measure in measures))

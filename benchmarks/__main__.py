"""Run every benchmark, or those of one room: `python -m benchmarks [gateway|kit|service|flows|compute]`."""

import subprocess
import sys
from pathlib import Path

ROOMS = ("kit", "gateway", "service", "flows", "compute")


def names(room: str) -> list[str]:
    """Benchmarks of a room, or all of them."""
    prefixes = (f"{room}_",) if room else tuple(f"{known}_" for known in ROOMS)
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem.startswith(prefixes))


def main() -> int:
    """Run them one after the other; fail when one fails."""
    room = sys.argv[1] if len(sys.argv) > 1 else ""
    found = names(room)
    if not found:
        print(f"no benchmark is named {room}_*; rooms are {', '.join(ROOMS)}", file=sys.stderr)
        return 2
    failed = [
        name for name in found if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
    ]
    if failed:
        print(f"missed a target: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

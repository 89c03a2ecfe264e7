"""Say in a few lines, the last of the log, which tests failed and why.

`python digest.py REPORT`, where REPORT is what `pytest --junitxml` wrote. Logs are often shown from their end, and a
worker that breaks leaves its traceback there and no summary.
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

MOST = 25
WIDTH = 300


def digest(report: Path) -> list[str]:
    """A line for each failure, and the cause of what broke the run itself."""
    if not report.is_file() or not report.stat().st_size:
        return ["pytest wrote no report: it was ended, or did not start"]
    lines = []
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it
        for problem in [*case.findall("failure"), *case.findall("error")]:
            said = " ".join((problem.get("message") or "").split())
            if said == "internal error":
                said = _cause(problem.text or "")
            lines.append(f"{case.get('classname')}::{case.get('name')}: {said}"[:WIDTH])
    return lines[:MOST] + ([f"and {len(lines) - MOST} more"] if len(lines) > MOST else [])


def _cause(traceback: str) -> str:
    errors = [line[1:].strip() for line in traceback.splitlines() if line.startswith("E ")]
    return " | ".join([error for error in errors if error not in {"", "assert False"}][-2:])


if __name__ == "__main__":
    sys.stdout.write("\n".join(digest(Path(sys.argv[1]))) + "\n")

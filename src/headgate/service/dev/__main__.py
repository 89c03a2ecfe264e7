"""`python -m headgate.service.dev MODULE:NAME [REPORT]`: serve one application until SIGTERM.

Settings are environment variables. With REPORT, a file, it tells there what it imported (see
`headgate.service.dev.report`). Exit codes: those of `App.run`, and 4 when the application could not be made; then
standard error says why.
"""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headgate.kit.controls.faults import Fault
from headgate.service.dev.report import write_report
from headgate.service.dev.target import app_of

NOT_IMPORTED: Final = 4
_USAGE: Final = 2


def main(arguments: Sequence[str]) -> int:
    """Serve. Returns the exit code."""
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python -m headgate.service.dev MODULE:NAME [REPORT]\n")
        return _USAGE
    try:
        app = app_of(arguments[0])
        if len(arguments) > 1:
            write_report(app, Path(arguments[1]))
        return app.run()
    except Fault as fault:
        sys.stderr.write(_of_fault(fault))
    except Exception as error:  # noqa: BLE001 - whatever the application's modules raise
        sys.stderr.write(told(error))
    return NOT_IMPORTED


def told(error: BaseException) -> str:
    """The traceback from the application's own modules on: not how they came to be imported."""
    here = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not each.filename.startswith((here, "<frozen importlib"))]
    own = [each for each in own if "/importlib/" not in each.filename]
    return "".join([*traceback.format_list(own), *traceback.format_exception_only(error)])


def _of_fault(fault: Fault) -> str:
    lines = [f"error: {fault.message}"]
    lines += [f"  {each.pointer}: {each.message}" for each in fault.violations if each.message != fault.message]
    return "\n".join([*lines, *([f"hint: {fault.hint}"] if fault.hint else [])]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

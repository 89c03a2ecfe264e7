"""`python -m headgate.service.dev MODULE:NAME`: serve one application until SIGTERM; a leash ends it with its parent.

Exit codes: those of `App.run`, and 4 when it could not be imported; then the last line says why.
"""

import sys
import traceback
from collections.abc import Sequence
from typing import Final

from headgate.kit.controls.faults import Fault
from headgate.service.dev.target import app_of

NOT_IMPORTED: Final = 4
_USAGE: Final = 2


def main(arguments: Sequence[str]) -> int:
    """Serve. Returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m headgate.service.dev MODULE:NAME\n")
        return _USAGE
    try:
        app = app_of(arguments[0])
    except Fault as fault:
        sys.stderr.write(f"error: {fault.message}\n" + (f"hint: {fault.hint}\n" if fault.hint else ""))
        return NOT_IMPORTED
    except Exception as error:  # noqa: BLE001 - whatever the application's modules raise
        sys.stderr.write(told(error))
        return NOT_IMPORTED
    return app.run() or 0


def told(error: BaseException) -> str:
    """The traceback from the application's own modules on: not how they came to be imported."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if each.filename != __file__ and "importlib" not in each.filename]
    own = [each for each in own if not each.filename.endswith("headgate/service/dev/target.py")]
    lines = traceback.format_list(own) + traceback.format_exception_only(error)
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

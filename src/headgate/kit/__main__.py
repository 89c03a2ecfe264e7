"""`python -m headgate.kit`: see `headgate.kit.runner`."""

import sys

from headgate.kit.runner import main

if __name__ == "__main__":
    sys.exit(main())

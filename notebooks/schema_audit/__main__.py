"""The command as `python -m schema_audit`, where nothing is installed."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())

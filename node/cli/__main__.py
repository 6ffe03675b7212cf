"""`python -m node.cli`: the command `village` where it is not installed."""

import sys

from node.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

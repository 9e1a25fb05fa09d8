"""`python -m onestroke` is the same as the command `onestroke`."""

import sys

from onestroke.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

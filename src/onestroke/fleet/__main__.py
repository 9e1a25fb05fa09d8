"""`python -m onestroke.fleet` is the same as `onestroke fleet`."""

import sys

from onestroke.cli.fleet import main

if __name__ == "__main__":
    sys.exit(main())

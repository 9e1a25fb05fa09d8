"""`python -m onestroke.provenance show|verify FILE` is the same as `onestroke provenance show|verify FILE`."""

import sys

from onestroke.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["provenance", *sys.argv[1:]]))

"""Train a style: python train.py style=starry_night"""

import sys

from onestroke.cli.train import main

if __name__ == "__main__":
    sys.exit(main())

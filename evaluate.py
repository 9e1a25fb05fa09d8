#!/usr/bin/env python
"""Measure painters: python evaluate.py ckpt=checkpoints/starry_night.safetensors photos=folder."""

import sys

from onestroke.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())

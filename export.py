"""Export a style for other programs: python export.py ckpt=checkpoints/starry_night.safetensors format=onnx"""

import sys

from onestroke.cli.export import main

if __name__ == "__main__":
    sys.exit(main())

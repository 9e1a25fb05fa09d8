"""Paint photos: python infer.py ckpt=checkpoints/starry_night.safetensors input=photo.jpg"""

import sys

from onestroke.cli.infer import main

if __name__ == "__main__":
    sys.exit(main())

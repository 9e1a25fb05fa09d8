"""Paint a camera live: python live.py ckpt=checkpoints/gallery.safetensors"""

import sys

from onestroke.cli.live import main

if __name__ == "__main__":
    sys.exit(main())

"""Where a painting comes from: marks that say so, written into pictures and clips, and read from them."""

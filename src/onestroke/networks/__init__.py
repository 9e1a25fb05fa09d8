"""Transform networks, one a file: image in, image out."""

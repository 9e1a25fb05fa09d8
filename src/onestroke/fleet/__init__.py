"""Paint millions of pictures on a Ray cluster: each exactly once, each failure named, resumable."""

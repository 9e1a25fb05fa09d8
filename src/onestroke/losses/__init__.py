"""Loss terms, one in each file, and the objective that sums them."""

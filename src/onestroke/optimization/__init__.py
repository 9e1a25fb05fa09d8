"""Direct optimisation of one picture (Gatys et al., 2016)."""

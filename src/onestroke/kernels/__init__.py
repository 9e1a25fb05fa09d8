"""Fast implementations of short formulas, each tested against the plain one."""

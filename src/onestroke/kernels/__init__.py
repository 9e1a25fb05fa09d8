"""Fast twins of three-line formulas, each tested against its formula."""

"""A seeded world that drives the real gate and writes down its own truth, to hold every number of a report against."""

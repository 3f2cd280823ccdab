"""Side-by-side measurements against peers, printed as ratios and kept in ``build/bench/results.json``."""

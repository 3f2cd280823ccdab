"""Pure verdicts: numbers in, a verdict and its reasons out. No I/O, no clock."""

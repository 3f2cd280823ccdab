"""Where the simulated marketplace's events and rows go."""

"""What a backend uses: routes requests to the endpoint, by experiment, and logs what was shown."""

"""The same raw hours by way of a Kafka Connect cluster: connector configurations, and the closing of hours."""

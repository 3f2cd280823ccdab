"""Events on their way through Kafka: their messages, and a producer that knows what was delivered."""

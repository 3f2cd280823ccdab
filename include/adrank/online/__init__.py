"""Writer and reader of the online stores: Redis and DynamoDB."""

"""S3 and DynamoDB."""

"""SageMaker: jobs and endpoints that run here."""

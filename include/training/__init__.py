"""The SageMaker jobs: training set, model, evaluation, experiment measurement."""

"""What can go wrong, one class each, so that logs, alerts and tests can tell failures apart."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class JobFailedError(AirflowException):
    """An EMR step or a SageMaker job ended in failure; the message carries its own reason."""


class DeadlineError(AirflowException):
    """What was waited for did not happen before its absolute deadline."""


class ClusterNotFoundError(AirflowException):
    """No running EMR cluster carries the configured name."""


class DeploymentRolledBackError(AirflowFailException):
    """The endpoint is in service, but not on the configuration that was asked for: an alarm rang over live users.

    Trying again would send them there again; that is for a person to decide.
    """


class EndpointFailedError(AirflowException):
    """The endpoint could not be created or updated."""


class ProductionMismatchError(AirflowFailException):
    """Registry and endpoint disagree whether there is anything in production."""


class ParityError(AirflowException):
    """An endpoint answers golden requests with other scores than the package promises."""


class WrongPackageServedError(AirflowException):
    """An endpoint serves another package than the one that was approved."""


class StagingInUseError(AirflowException):
    """Another run holds the staging endpoint."""


class NoInputError(AirflowException):
    """A window of the lake holds nothing to work on."""


class InconsistentFeaturesError(AirflowFailException):
    """The online stores serve other features than the lake holds; trying again would read the same audit."""


class UnauditedFeaturesError(AirflowFailException):
    """No recent hour's features were read back from the online stores."""


class ExportQuarantinedError(AirflowFailException):
    """A billing export was refused; trying again would read the same verdict."""


class UnknownFieldError(ValueError):
    """A DAG refers to a field that the task does not return."""

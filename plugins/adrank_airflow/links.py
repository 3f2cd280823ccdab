"""Ways from a task to the consoles, in the manner of the Amazon provider, which has none to SageMaker's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.providers.amazon.aws.links.base_aws import BASE_AWS_CONSOLE_LINK, BaseAwsLink

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from airflow.sdk import BaseOperator, Context


class SageMakerJobLink(BaseAwsLink):
    """Leads to the job."""

    name = "SageMaker Job"
    key = "sagemaker_job"
    format_str = BASE_AWS_CONSOLE_LINK + "/sagemaker/home?region={region_name}#/{page}/{job_name}"

    def format_link(self, **kwargs: str) -> str:
        """The address; training jobs have the page that was there first."""
        page = "jobs" if kwargs["job_kind"] == "training" else f"{kwargs['job_kind']}-jobs"
        return str(super().format_link(page=page, **kwargs))


class SageMakerLogsLink(BaseAwsLink):
    """Leads to what the job's containers wrote, in CloudWatch."""

    name = "CloudWatch Logs"
    key = "sagemaker_job_logs"
    format_str = BASE_AWS_CONSOLE_LINK + "/cloudwatch/home?region={region_name}#logsV2:log-groups/log-group/{streams}"

    def format_link(self, **kwargs: str) -> str:
        """The address; the console wants what follows its ``#`` quoted twice, with ``$`` for ``%``."""
        group = quote(f"/aws/sagemaker/{kwargs['job_kind'].capitalize()}Jobs", safe="")
        chosen = quote(f"?logStreamNameFilter={kwargs['job_name']}", safe="").replace("%", "$")
        return str(super().format_link(streams=quote(group, safe="").replace("%", "$") + chosen, **kwargs))


SAGEMAKER_JOB_LINKS = (SageMakerJobLink(), SageMakerLogsLink())


def persist(
    links: Sequence[BaseAwsLink], context: Context, operator: BaseOperator, hook: AwsBaseHook, **fields: str | None
) -> None:
    """Leave with the task instance what ``links`` are made from."""
    where = {"region_name": hook.conn_region_name, "aws_partition": hook.conn_partition}
    for link in links:
        link.persist(context=context, operator=operator, **where, **fields)

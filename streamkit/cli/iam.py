"""`streamkit iam`: the policy of a consumer's role."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
import msgspec

from streamkit.cli.loading import config_option, configured
from streamkit.permissions import Place, Policy, function_policy, policy, reading

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("path", metavar="MODULE:CONSUMER")
@click.option("--region", default=lambda: os.environ.get("AWS_REGION", "REGION"), help="AWS_REGION, if not said.")
@click.option("--account", default="ACCOUNT", help="Twelve digits; the word ACCOUNT, to be replaced, if not said.")
@click.option("--partition", default="aws", show_default=True, help="aws, aws-cn or aws-us-gov.")
@click.option("--assumed", is_flag=True, help="Instead, of the role in another account that the consumer reads by.")
@click.option("--function", metavar="NAME", help="Instead, of the Lambda function of this name that runs the consumer.")
@config_option
def iam(  # noqa: PLR0913 - the command line's own options
    *, path: str, region: str, account: str, partition: str, config: Path | None, assumed: bool, function: str | None
) -> None:
    """Print the IAM policy that a worker of the consumer needs, or its function, and nothing more.

    It reads its stream, keeps one table and sends to its queues. Nothing is asked of AWS. What the handler itself does
    is for you to add, a transactional one's own tables too; what `init` and operators need is in docs/permissions.md.

    \b
    streamkit iam consumers.flights:flights --region eu-west-1 --account 123456789012
    streamkit iam consumers.flights:flights --function flights
    """
    (consumer,) = configured([path], config=config).consumers
    place = Place(region, account, partition)
    if function is not None and assumed:
        raise click.UsageError("expected --assumed or --function, got both: a function's mapping assumes no role.")
    made = Policy(statement=tuple(reading(consumer, place))) if assumed else policy(consumer, place)
    if function is not None:
        made = function_policy(consumer, place, function=function)
    click.echo(msgspec.json.format(msgspec.json.encode(made)).decode())

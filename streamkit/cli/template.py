"""`streamkit template`: what runs a consumer on AWS, as a CloudFormation template to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from streamkit.cli.loading import config_option, configured
from streamkit.permissions import Place, policy

if TYPE_CHECKING:
    from pathlib import Path

    from streamkit.config import Configured
    from streamkit.consumer import Consumer

Json = dict[str, object]

HEALTH_CHECK = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/livez', timeout=4)"
"""Another status than 200 raises. The same as the image's: ECS does not look at that one."""
_RELEASE_SECONDS = 10
"""After the grace period: checkpoint, release, leave."""
_MOST_STOP_SECONDS = 120
"""Of Fargate."""
_HERE = Place("${AWS::Region}", "${AWS::AccountId}", "${AWS::Partition}")


@click.group()
def template() -> None:
    """Print a template to deploy a consumer with.

    \b
    streamkit template ecs consumers.flights:flights > flights.json
    streamkit template lambda consumers.flights:flights > flights.json
    """


@template.command("lambda")
@click.argument("path", metavar="MODULE:CONSUMER")
@config_option
def function(path: str, config: Path | None) -> None:
    """Print a CloudFormation template of a Lambda function that runs the consumer, with all it needs.

    The function, its event source mapping as docs/lambda.md wants it, checkpoint table and dead-letter queue, a role
    that may do what `streamkit iam --function` prints and no more, and alarms. The zip is made by `streamkit zip`.

    \b
    streamkit zip consumers.flights:flights && aws s3 cp flights.zip s3://BUCKET/
    streamkit template lambda consumers.flights:flights > flights.json
    aws cloudformation deploy --template-file flights.json --stack-name flights --capabilities CAPABILITY_IAM \\
      --parameter-overrides CodeBucket=BUCKET CodeKey=flights.zip
    """
    from streamkit.cli.template_function import application

    click.echo(msgspec.json.format(msgspec.json.encode(application(path, configured([path], config=config)))).decode())


@template.command()
@click.argument("path", metavar="MODULE:CONSUMER")
@config_option
def ecs(path: str, config: Path | None) -> None:
    """Print a CloudFormation template of an ECS service on Fargate that runs the consumer.

    Health check by /livez, a stop time-out longer than the grace period, a role that may do what `streamkit iam` prints
    and no more, metrics by CloudWatch's log driver. Table and queue are made by `streamkit init` first.

    \b
    streamkit template ecs consumers.flights:flights > flights.json
    aws cloudformation deploy --template-file flights.json --stack-name flights --capabilities CAPABILITY_IAM ...
    """
    click.echo(msgspec.json.format(msgspec.json.encode(service(path, configured([path], config=config)))).decode())


def service(path: str, plan: Configured) -> Json:
    """Return the template. Raises `ConfigurationError` through `configured` only."""
    (consumer,) = plan.consumers
    stop = min(_MOST_STOP_SECONDS, int(plan.worker.grace.total_seconds()) + _RELEASE_SECONDS)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"streamkit consumer {consumer.name}",
        "Parameters": _parameters(),
        "Resources": {
            "Logs": {
                "Type": "AWS::Logs::LogGroup",
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
                "Properties": {"RetentionInDays": 30},
            },
            "TaskRole": _role({"PolicyName": "consume", "PolicyDocument": _document(consumer)}),
            "ExecutionRole": _role({"PolicyName": "start", "PolicyDocument": _starting()}),
            "Task": {"Type": "AWS::ECS::TaskDefinition", "Properties": _task(path, consumer, stop=stop)},
            "Service": {"Type": "AWS::ECS::Service", "Properties": _service()},
        },
    }


def _parameters() -> Json:
    return {
        "Image": {"Type": "String", "Description": "The image made by the Dockerfile, in ECR"},
        "Repository": {"Type": "String", "Description": "Name of its ECR repository"},
        "Cluster": {"Type": "String"},
        "Subnets": {"Type": "List<AWS::EC2::Subnet::Id>"},
        "SecurityGroups": {"Type": "List<AWS::EC2::SecurityGroup::Id>", "Description": "Outbound HTTPS is enough"},
        "Workers": {"Type": "Number", "Default": 2, "MinValue": 0},
    }


def _task(path: str, consumer: Consumer, *, stop: int) -> Json:
    worker: Json = {
        "Name": "worker",
        "Image": {"Ref": "Image"},
        "Command": [path],
        "Essential": True,
        "StopTimeout": stop,
        "ReadonlyRootFilesystem": True,
        "User": "10001",
        "Environment": [{"Name": "STREAMKIT_HEALTH", "Value": "8080"}, {"Name": "STREAMKIT_METRICS", "Value": "emf"}],
        "HealthCheck": {
            "Command": ["CMD", "python", "-c", HEALTH_CHECK],
            "Interval": 15,
            "Timeout": 5,
            "Retries": 3,
            "StartPeriod": 30,
        },
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {
                "awslogs-group": {"Ref": "Logs"},
                "awslogs-region": {"Ref": "AWS::Region"},
                "awslogs-stream-prefix": consumer.name,
            },
        },
    }
    return {
        "RequiresCompatibilities": ["FARGATE"],
        "NetworkMode": "awsvpc",
        "Cpu": "512",
        "Memory": "1024",
        "TaskRoleArn": {"Fn::GetAtt": ["TaskRole", "Arn"]},
        "ExecutionRoleArn": {"Fn::GetAtt": ["ExecutionRole", "Arn"]},
        "ContainerDefinitions": [worker],
    }


def _service() -> Json:
    return {
        "Cluster": {"Ref": "Cluster"},
        "LaunchType": "FARGATE",
        "TaskDefinition": {"Ref": "Task"},
        "DesiredCount": {"Ref": "Workers"},
        "DeploymentConfiguration": {
            "MinimumHealthyPercent": 100,
            "MaximumPercent": 200,
            "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
        },
        "NetworkConfiguration": {
            "AwsvpcConfiguration": {"Subnets": {"Ref": "Subnets"}, "SecurityGroups": {"Ref": "SecurityGroups"}}
        },
    }


def _role(inline: Json) -> Json:
    trust = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    assume = {"Version": "2012-10-17", "Statement": [trust]}
    return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": assume, "Policies": [inline]}}


def _document(consumer: Consumer) -> Json:
    """Return the consumer's policy, of wherever the template is deployed."""
    made = policy(consumer, _HERE)
    statements = [{**msgspec.to_builtins(each), "Resource": _filled_in(each.resource)} for each in made.statement]
    return {"Version": made.version, "Statement": statements}


def _filled_in(arn: str | tuple[str, ...]) -> object:
    if isinstance(arn, tuple):
        return [_filled_in(each) for each in arn]
    return {"Fn::Sub": arn} if "${" in arn else arn


def _starting() -> Json:
    """Return what ECS itself needs to start the task: the image and the log group."""
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    repository = {"Fn::Sub": _HERE.arn("ecr", "repository/${Repository}")}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "LogIn", "Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Sid": "PullTheImage", "Effect": "Allow", "Action": pull, "Resource": repository},
            {
                "Sid": "WriteLogs",
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": {"Fn::GetAtt": ["Logs", "Arn"]},
            },
        ],
    }

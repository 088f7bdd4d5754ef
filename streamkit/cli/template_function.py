"""A consumer as a function on AWS: a CloudFormation template of everything that it needs, to start from.

Table and queue outlive the stack: positions and letters are worth more than it.
"""

from __future__ import annotations

import re
import sys
from math import ceil
from typing import TYPE_CHECKING, cast

import msgspec

from streamkit.aws.queues import KEEP
from streamkit.aws.schema import EXPIRES, KEYS
from streamkit.cli.loading import handler_of
from streamkit.consumer import DynamoDBStream
from streamkit.errors import ConfigurationError
from streamkit.permissions import Place, function_policy, queue_arn
from streamkit.runtimes.function.function import expect_possible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamkit.config import Configured
    from streamkit.consumer import Consumer

Json = dict[str, object]

_HERE = Place("${AWS::Region}", "${AWS::AccountId}", "${AWS::Partition}")
_ATTEMPTS_IN_TIME = 6
"""The time-out is so many times what an attempt may take: docs/lambda.md."""
_LONGEST_SECONDS = 900
"""Of a function."""
_LONGEST_NAME = 64
_NO_LETTER = re.compile("[^A-Za-z0-9_-]")
"""In the name of a function."""
_FOREVER = -1
_LATE_MILLISECONDS = 600_000
_VARIABLES = {"Queue": "STREAMKIT_DEAD_LETTERS", "Successes": "STREAMKIT_ON_SUCCESS"}
_KEPT: Json = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}


def application(path: str, plan: Configured) -> Json:
    """Return the template. Raises `ConfigurationError` for a consumer that no function can run, or has no handler."""
    (consumer,) = plan.consumers
    expect_possible(consumer)
    made = _Application(consumer, handler_of(path))
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"streamkit consumer {consumer.name}, as a Lambda function",
        "Parameters": made.parameters(),
        "Conditions": {"IsToldOf": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopic"}, ""]}]}},
        "Resources": _filled_in(made.resources()),
    }


class _Application:
    """The parts of one consumer's template. What holds `${...}` is filled in at the end."""

    def __init__(self, consumer: Consumer, handler: str) -> None:
        self._consumer = consumer
        self._handler = handler
        self._name = _NO_LETTER.sub("-", consumer.name)[:_LONGEST_NAME]
        declared = {"Queue": consumer.dead_letters, "Successes": consumer.on_success}
        self._queues = {part: each.queue for part, each in declared.items() if each is not None}

    def parameters(self) -> Json:
        """Return what whoever deploys has to say, or may."""
        factor = self._consumer.parallelization_factor or 1
        found: Json = {
            "CodeBucket": {"Type": "String", "Description": "Where the zip is that `streamkit zip` made"},
            "CodeKey": {"Type": "String", "Description": "Its key"},
            "BatchSize": {"Type": "Number", "Default": 100, "MinValue": 1, "MaxValue": 10_000},
            "MemoryMegabytes": {"Type": "Number", "Default": 512, "MinValue": 128, "MaxValue": 10_240},
            "AlarmTopic": {"Type": "String", "Default": "", "Description": "ARN of an SNS topic to tell of alarms"},
            "ParallelizationFactor": {
                "Type": "Number",
                "Default": factor,
                "MinValue": 1,
                "MaxValue": 1 if self._consumer.parallelization_factor == 1 else 10,
                "Description": "Batches of one shard at once; a consumer that declares 1 lets it be nothing else",
            },
        }
        if isinstance(self._consumer.source, DynamoDBStream):
            found["StreamArn"] = {"Type": "String", "Description": "LatestStreamArn of the table"}
        return found

    def resources(self) -> Json:
        """Return everything that is made."""
        return {
            "Logs": {
                "Type": "AWS::Logs::LogGroup",
                **_KEPT,
                "Properties": {"LogGroupName": f"/aws/lambda/{self._name}", "RetentionInDays": 30},
            },
            "Role": self._role(),
            "Function": {"Type": "AWS::Lambda::Function", "DependsOn": ["Logs"], "Properties": self._function()},
            "Mapping": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": self._mapping()},
            "Table": {"Type": "AWS::DynamoDB::Table", **_KEPT, "Properties": self._table()},
            **{
                part: {"Type": "AWS::SQS::Queue", **_KEPT, "Properties": _queue(name)}
                for part, name in self._queues.items()
                if _is_name(name)
            },
            **self._alarms(),
        }

    def _role(self) -> Json:
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        allowed = msgspec.to_builtins(function_policy(self._consumer, _HERE, function=self._name))
        return {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
                "Policies": [{"PolicyName": "consume", "PolicyDocument": allowed}],
            },
        }

    def _function(self) -> Json:
        attempt = self._consumer.handler_timeout.total_seconds()
        return {
            "FunctionName": self._name,
            "Runtime": "python{}.{}".format(*sys.version_info),
            "Handler": self._handler,
            "Code": {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}},
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Timeout": min(_LONGEST_SECONDS, ceil(_ATTEMPTS_IN_TIME * attempt)),
            "MemorySize": {"Ref": "MemoryMegabytes"},
            "Environment": {"Variables": self._variables()},
        }

    def _variables(self) -> Mapping[str, object]:
        """Return what the function has to know of its surroundings; what the consumer says itself goes without."""
        found: Json = {"STREAMKIT_PARTIAL_RESPONSES": "true", "STREAMKIT_CHECKPOINT_TABLE": {"Ref": "Table"}}
        for part, name in self._queues.items():
            found[_VARIABLES[part]] = {"Ref": part} if _is_name(name) else name
        if self._consumer.dead_letters is not None and self._consumer.dead_letters.bucket is not None:
            found["STREAMKIT_DEAD_LETTERS_BUCKET"] = self._consumer.dead_letters.bucket
        if self._consumer.parallelization_factor is not None:
            found["STREAMKIT_PARALLELIZATION_FACTOR"] = str(self._consumer.parallelization_factor)
        return found

    def _mapping(self) -> Json:
        """Return the mapping: it names the first record that is not settled, and gives nothing up by itself."""
        return {
            "FunctionName": {"Ref": "Function"},
            "EventSourceArn": self._stream(),
            **_beginning(self._consumer),
            "BatchSize": {"Ref": "BatchSize"},
            "ParallelizationFactor": {"Ref": "ParallelizationFactor"},
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": _FOREVER,
            "MaximumRecordAgeInSeconds": _FOREVER,
        }

    def _stream(self) -> object:
        source = self._consumer.source
        if isinstance(source, DynamoDBStream):
            return {"Ref": "StreamArn"}
        return source.stream if source.stream.startswith("arn:") else _HERE.arn("kinesis", f"stream/{source.stream}")

    def _table(self) -> Json:
        return {
            "TableName": self._consumer.table,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in KEYS.items()],
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in KEYS],
            "TimeToLiveSpecification": {"AttributeName": EXPIRES, "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "DeletionProtectionEnabled": True,
        }

    def _alarms(self) -> Json:
        """Return what a person is told of: records that wait too long, errors, letters."""
        function: Json = {"FunctionName": {"Ref": "Function"}}
        found: Json = {
            "RecordsAreLate": _alarm(
                "Records wait for longer than ten minutes: an outage, a halt, or too little parallelism",
                ("AWS/Lambda", "IteratorAge", function),
                above=_LATE_MILLISECONDS,
            ),
            "TheFunctionFails": _alarm(
                "Invocations end in an error: the log says which", ("AWS/Lambda", "Errors", function), above=0
            ),
        }
        if "Queue" in self._queues:
            name = queue_arn(self._queues["Queue"], _HERE).rpartition(":")[2]
            found["RecordsAreDead"] = _alarm(
                "Dead letters wait for a person: streamkit dlq",
                ("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": name}),
                above=0,
            )
        return found


def _is_name(queue: str) -> bool:
    """Say whether a queue is named, to be made here; one by ARN or URL is somebody else's."""
    return "/" not in queue and not queue.startswith("arn:")


def _queue(name: str) -> Json:
    """Return a queue like that of `streamkit init --queue`."""
    fifo: Json = {"FifoQueue": True} if name.endswith(".fifo") else {}
    kept = round(KEEP.total_seconds())
    return {"QueueName": name, "MessageRetentionPeriod": kept, "SqsManagedSseEnabled": True, **fifo}


def _alarm(description: str, metric: tuple[str, str, Json], *, above: int) -> Json:
    namespace, name, dimensions = metric
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": description,
            "Namespace": namespace,
            "MetricName": name,
            "Dimensions": [{"Name": each, "Value": value} for each, value in dimensions.items()],
            "Statistic": "Maximum",  # 1 of Errors is one invocation: its sum would say no more
            "Period": 60,
            "EvaluationPeriods": 5,
            "DatapointsToAlarm": 1,
            "Threshold": above,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": {"Fn::If": ["IsToldOf", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]},
        },
    }


def _beginning(consumer: Consumer) -> Json:
    """Return where the mapping begins. Raises `ConfigurationError` for a moment among a table's changes."""
    start = consumer.source.start
    if isinstance(start, str):
        return {"StartingPosition": start}
    if isinstance(consumer.source, DynamoDBStream):
        raise ConfigurationError(
            f"consumer {consumer.name}: start: for a function on a table's changes expected 'TRIM_HORIZON' or"
            f" 'LATEST', which is all that Lambda offers there, got {start}"
        )
    return {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": start.timestamp()}


def _filled_in(value: object) -> object:
    """Return a part of the template with what AWS fills in marked so, at any depth."""
    match value:
        case str() if "${" in value:
            return {"Fn::Sub": value}
        case dict():
            return {name: _filled_in(each) for name, each in cast("Json", value).items()}
        case list() | tuple():
            return [_filled_in(each) for each in cast("list[object]", value)]
        case _:
            return value

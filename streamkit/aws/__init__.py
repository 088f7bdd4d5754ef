"""The room of the AWS SDK: what the ports promise, kept on Kinesis, DynamoDB and SQS.

Adapters speak to a service through `streamkit.aws.call.Call` alone; `clients.py` makes such calls from
aioboto3, and `errors.py` says what the SDK's exceptions mean. Importing a file here imports no SDK.
"""

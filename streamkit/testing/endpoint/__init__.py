"""AWS on a loopback address, for tests, demos and laptops: Kinesis by `streamkit.testing.kinesis`, the rest by moto.

    async with Endpoint() as endpoint:
        kinesis = boto3.client("kinesis", endpoint_url=endpoint.url, ...)

or, in a process of its own, `streamkit local` and `endpoint_process`.
"""

from streamkit.testing.endpoint.process import endpoint_process
from streamkit.testing.endpoint.server import Endpoint, environment

__all__ = ["Endpoint", "endpoint_process", "environment"]

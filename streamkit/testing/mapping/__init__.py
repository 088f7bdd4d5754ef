"""Lambda's event source mapping in virtual time: test a function on a stream without AWS and without waiting.

    def test_a_bad_record_does_not_block_the_shard():
        async def main():
            world = World()
            world.stream.put("key", {"n": 1})
            function = LambdaFunction.of(handler)
            async with EventSourceMapping(KinesisFeed(world.stream), function, Terms(batch_size=10)) as mapping:
                await mapping.settled()
            assert mapping.discards == []

        run_mapped(main)

What AWS documents or was recorded doing is done to the letter; what nobody knows is said to be inferred, beside it.
"""

from streamkit.testing.mapping.consumers import deployed
from streamkit.testing.mapping.containers import Container, ContainerLoop, run_mapped
from streamkit.testing.mapping.course import Discard
from streamkit.testing.mapping.documents import document, document_with_payload
from streamkit.testing.mapping.faults import Faults
from streamkit.testing.mapping.feeds import ChangeFeed, Entry, Feed, KinesisFeed
from streamkit.testing.mapping.function import Context, Handler, LambdaFunction, Outcome
from streamkit.testing.mapping.mapping import EventSourceMapping, Invocation
from streamkit.testing.mapping.terms import FOREVER, Terms
from streamkit.testing.mapping.wire import Weather, Wire

__all__ = [
    "FOREVER",
    "ChangeFeed",
    "Container",
    "ContainerLoop",
    "Context",
    "Discard",
    "Entry",
    "EventSourceMapping",
    "Faults",
    "Feed",
    "Handler",
    "Invocation",
    "KinesisFeed",
    "LambdaFunction",
    "Outcome",
    "Terms",
    "Weather",
    "Wire",
    "deployed",
    "document",
    "document_with_payload",
    "run_mapped",
]

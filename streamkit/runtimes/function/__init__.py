"""The consumer as a Lambda function. Start with `function`: one invocation, from event to answer.

event --> parts (stream, shard) --> claim --> Engine(Settling) --> settle --> answer
"""

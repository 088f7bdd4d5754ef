"""How a worker fares, for machines: `/livez`, `/readyz`, `/metrics`, and metrics as lines for CloudWatch.

the worker's loop --every second--> a frozen Snapshot --> a server in a thread of its own
                                                     '--> lines in CloudWatch's format, every interval

Nobody but the worker's loop looks into the work; a loop that turns no more is seen by the age of the snapshot.
"""

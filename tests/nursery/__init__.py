"""`streamkit` as a program, for a quarter of its price: a fork of a process that has loaded the AWS SDK already.

    with Nursery() as nursery, nursery.start("run", PATH, folder=folder, environment=environment) as child:
        child.terminate()

What is forked is as a program that was started: a process of its own, with its own arguments, environment, folder,
streams, signals and status. Only its imports happened before. What a start itself shows is for `subprocess`:
the demo and the children of `--processes` start the long way.
"""

from tests.nursery.children import Child, Nursery

__all__ = ["Child", "Nursery"]

"""Tests in virtual time."""

from collections.abc import Callable, Coroutine

from streamkit.testing import run_virtual


def virtual(test: Callable[[], Coroutine[object, object, None]]) -> Callable[[], None]:
    """Run an async test in virtual time: it may wait for hours."""

    def run() -> None:
        run_virtual(test)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run

"""When a shard is subscribed to next: never sooner than the service lets, and polled when there is no use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamkit.aws.errors import Busy
from streamkit.aws.fan_out_renewal import FanOutSettings, Renewal
from streamkit.errors import Throttled, Unanswered
from streamkit.testing import SeededChance

SETTINGS = FanOutSettings()
CAUSES = st.sampled_from([None, Busy("taken over"), Unanswered("broken"), Throttled("too fast")])
STORIES = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.floats(0, 400), CAUSES), min_size=1, max_size=30
)  # whether it began, whether it brought anything, how long it lasted, what ended it


@given(STORIES, st.integers(0, 1000))
def test_subscriptions_begin_at_least_five_seconds_apart(
    story: list[tuple[bool, bool, float, Exception | None]], seed: int
) -> None:
    """Whatever happened to the one before; and no wait outlasts the back-off by much."""
    renewal, chance, now, before = Renewal(SETTINGS), SeededChance(seed), 1000.0, float("-inf")
    for began, brought, lasted, cause in story:
        now = max(now, renewal.next_at)
        if began:
            assert now - before >= 5.0
            renewal.began(now)
            before = now
            if brought:
                renewal.brought()
            now += lasted
        seconds = renewal.ended(now, cause=cause, chance=chance)
        assert seconds == max(0.0, renewal.next_at - now)
        assert seconds <= 20.0
        if isinstance(cause, Busy):
            assert seconds >= 5.0
        if renewal.hopeless:
            renewal.given_up(now)
            assert renewal.next_at == now + 300
            assert not renewal.hopeless


def test_after_its_five_minutes_the_next_may_begin_at_once() -> None:
    """The service ended it as it said it would; records wait."""
    renewal = Renewal(SETTINGS)
    renewal.began(0.0)
    assert renewal.ended(300.0, cause=None, chance=SeededChance(0)) == 0.0
    assert renewal.failures == 0


def test_who_is_refused_waits_longer_than_the_one_it_waits_for() -> None:
    """Five seconds from its own request at least, so that the other's time is over."""
    for seed in range(20):
        renewal = Renewal(SETTINGS)
        assert 5.0 <= renewal.ended(0.0, cause=Busy("in use"), chance=SeededChance(seed)) <= 11.0


def test_only_what_fails_again_and_again_is_polled() -> None:
    """Five in a row that ended soon and brought nothing; one that brought something starts the count anew."""
    renewal, now = Renewal(SETTINGS), 0.0
    for fruitful in (False, False, False, False, True, False, False, False, False, False):
        assert not renewal.hopeless
        now = max(now, renewal.next_at)
        renewal.began(now)
        if fruitful:
            renewal.brought()
        now += 1.0
        renewal.ended(now, cause=Unanswered("broken"), chance=SeededChance(1))
    assert renewal.hopeless

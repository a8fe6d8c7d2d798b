"""Is a holder that was cut off dead before the server lets another one in?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import UsageError
from launcher.locks.lease import Lease


def test_the_defaults_are_the_measured_ones() -> None:
    """R = 30 s, K = 5 s: asked every 2 s, given up after 6 s, a successor waits 11 s and a margin of 2 s."""
    lease = Lease(expiry_s=30.0, kill_grace_s=5.0)
    lease.check()

    assert (2.0, 6.0, 13.0) == pytest.approx((lease.heartbeat_s, lease.give_up_s, lease.takeover_s))


@given(expiry_s=st.floats(0.1, 1e5), kill_grace_s=st.floats(0.0, 1e5))
def test_what_is_let_through_keeps_the_inequality(expiry_s: float, kill_grace_s: float) -> None:
    """G + K + margin < R for every pair that is not refused, and at least two heartbeats fit into G."""
    lease = Lease(expiry_s=expiry_s, kill_grace_s=kill_grace_s)
    try:
        lease.check()
    except UsageError:
        assert kill_grace_s > expiry_s * 0.7
        return

    assert lease.give_up_s + kill_grace_s < expiry_s
    assert 2 * lease.heartbeat_s < lease.give_up_s


def test_the_shortest_expiry_for_the_default_kill_grace() -> None:
    """With five seconds to die, seven seconds are enough and six are not; the text says what is needed."""
    Lease(expiry_s=7.0, kill_grace_s=5.0).check()
    with pytest.raises(UsageError, match=r"--lock-expiry 6s is too short.* 6\.6s") as caught:
        Lease(expiry_s=6.0, kill_grace_s=5.0).check()

    assert caught.value.cure

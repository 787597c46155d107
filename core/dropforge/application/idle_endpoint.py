"""A real-time endpoint that nobody asks costs by the hour: it is deleted, until somebody wakes it.

What is live stays live, with its configuration and its model. The ledger notes under which promotion the
endpoint sleeps before it is deleted, so that no repair brings it back; every later deployment is another one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import from_iso
from dropforge.domain.records import Live, LockName
from dropforge.domain.services import Endpoints

SLEEPER = "idle-endpoint"
"""Who holds the deployment lock while an endpoint is put to sleep; no execution's ARN."""

_LEASE_S = 300


def sleeps(live: Live, ledger: Ledger) -> bool:
    """Whether the endpoint of what is live was put to sleep, and nothing was deployed since."""
    return ledger.asleep_token() == live.token


def put_to_sleep(live: Live, *, ledger: Ledger, endpoints: Endpoints, idle: timedelta, now: datetime) -> bool:
    """Delete the endpoint if it had no request for so long; whether it was deleted.

    Nothing happens within that time after a promotion, while a deployment holds the endpoint, or where it
    isn't in service. Safe to run again after any interruption: first it is noted, then deleted.
    """
    if now - from_iso(live.promoted_at) < idle:
        return False
    state = endpoints.describe(live.endpoint_name)
    if state is None or state.status != "InService" or state.config != live.endpoint_config:
        return False
    if endpoints.requests_since(live.endpoint_name, now - idle, now):
        return False
    lease = ledger.acquire(
        LockName.DEPLOYMENT, holder=SLEEPER, subject=live.endpoint_name, now=now, lease_s=_LEASE_S
    )
    if lease is None:
        return False
    try:
        # A deployment may have come and gone since the pointer was read.
        current = ledger.live()
        if current is None or current.token != live.token:
            return False
        ledger.fall_asleep(live.token, now=now)
        endpoints.delete(live.endpoint_name)
    finally:
        ledger.release(LockName.DEPLOYMENT, token=lease.token)
    return True

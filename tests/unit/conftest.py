"""What all unit tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# These machines are shared: how long an example takes, or the making of one, is no matter of right or wrong.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

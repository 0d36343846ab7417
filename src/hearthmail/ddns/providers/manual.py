"""`type: none`: nobody to talk to. The agent prints the records and compares what the world sees with them."""

from __future__ import annotations

from hearthmail.ddns.providers.spec import ProviderSpec

SPEC = ProviderSpec(type="none", required=(), optional={}, make=None, explain={})

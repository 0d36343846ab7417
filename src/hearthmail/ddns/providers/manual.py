"""`type: none`: nobody to talk to. The agent prints the records and compares what the world sees with them."""

from __future__ import annotations

from hearthmail.ddns.providers.spec import ProviderSpec

SPEC = ProviderSpec(type="none", title="Any other, by hand", page="docs/dns.md", options=(), make=None, keeps_ttl=False)

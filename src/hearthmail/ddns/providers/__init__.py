"""The kinds of DNS provider. To add one: a module here with a `SPEC`, a line in `SPECS`, a test.

Each `SPEC` says which credentials its type needs and makes an octoDNS provider from them. The octoDNS
packages are imported by `make` only, because the agent's look every 30 s must not pay for them.
"""

from __future__ import annotations

from hearthmail.ddns.providers import dyndns2, lexicon, manual, powerdns
from hearthmail.ddns.providers.spec import ProviderSpec

SPECS: dict[str, ProviderSpec] = {
    spec.type: spec for spec in (manual.SPEC, powerdns.SPEC, dyndns2.SPEC, *lexicon.SPECS)
}

__all__ = ["SPECS", "ProviderSpec"]

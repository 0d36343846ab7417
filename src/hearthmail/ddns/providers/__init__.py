"""The kinds of DNS provider. To add one: a row in `octo.py`, or a module with a `SPEC` and a line in `SPECS`; a test.

Each `SPEC` says which credentials its type needs and makes an octoDNS provider from them. The octoDNS
packages are imported by `make` only, because the agent must not pay for those that a site does not use.
"""

from __future__ import annotations

from hearthmail.ddns.providers import dyndns2, lexicon, manual, powerdns
from hearthmail.ddns.providers.octo import OCTO
from hearthmail.ddns.providers.spec import ProviderSpec

SPECS: dict[str, ProviderSpec] = {
    spec.type: spec for spec in (manual.SPEC, powerdns.SPEC, *OCTO, dyndns2.SPEC, *lexicon.SPECS)
}

__all__ = ["SPECS", "ProviderSpec"]

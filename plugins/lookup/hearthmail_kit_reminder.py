"""Lookup `hearthmail_kit_reminder`: what is wrong with the site's recovery kit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: hearthmail_kit_reminder
author: Hearthmail
short_description: Whether the site's recovery kit is current
description:
  - Compares the inventory folder with what C(make kit) has noted there. It looks only at files of the controller.
options: {}
"""

EXAMPLES = """
- name: Remind of the recovery kit
  ansible.builtin.debug:
    msg: "{{ lookup('hearthmail_kit_reminder') }}"
"""

RETURN = """
_raw:
  description: One line for the owner; empty, if the kit is current, or if the inventory is no folder.
  type: list
  elements: str
"""

# Ansible puts module_utils on the way of modules, not of plugins, which run on the controller.
sys.path.append(str(Path(__file__).resolve().parent.parent / "module_utils"))
from hearthmail_kit import reminder


class LookupModule(LookupBase):
    """What Ansible looks for."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Compare."""
        self.set_options(var_options=variables, direct=kwargs)
        folder = (variables or {}).get("inventory_dir")
        return [reminder(Path(str(folder)), Path.home()) if folder else ""]

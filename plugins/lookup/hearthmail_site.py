"""Lookup `hearthmail_site`: the site's variables as one normalised model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: hearthmail_site
author: Hearthmail
short_description: The site as the roles read it
description:
  - Makes one model of the variables that a person writes (mail_*, dns_providers), with defaults, addresses in lower
    case, sizes in bytes, passwords hashed and aliases resolved. C(docs/site-variables.md) lists the variables.
  - The result holds secrets, so a task that shows it carries C(no_log).
options: {}
"""

EXAMPLES = """
- name: Make the model of the site
  ansible.builtin.set_fact:
    site: "{{ lookup('hearthmail_site') }}"
  no_log: true
"""

RETURN = """
_raw:
  description: The model.
  type: list
  elements: dict
"""

# Ansible puts module_utils on the way of modules, not of plugins, which run on the controller.
sys.path.append(str(Path(__file__).resolve().parent.parent / "module_utils"))
from hearthmail_site import build
from hearthmail_site.rendering import hash_password, render_site


class LookupModule(LookupBase):
    """What Ansible looks for."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Make the model."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [build(render_site(variables or {}, self._templar.template), hash_password)]
        except ValueError as error:
            raise AnsibleError(str(error)) from None

"""Lookup `hearthmail_site_problems`: all that is wrong with the site's variables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: hearthmail_site_problems
author: Hearthmail
short_description: What is wrong with the site's variables
description:
  - Checks the variables that a person writes (mail_*, dns_providers), each by itself and all together.
  - Use it with C(query), which always gives a list.
options: {}
"""

EXAMPLES = """
- name: The site's variables are good
  ansible.builtin.assert:
    that: query('hearthmail_site_problems') == []
"""

RETURN = """
_raw:
  description: One message for each problem, with the variable, the value unless it is a secret, and the way out.
  type: list
  elements: str
"""

# Ansible puts module_utils on the way of modules, not of plugins, which run on the controller.
sys.path.append(str(Path(__file__).resolve().parent.parent / "module_utils"))
from hearthmail_site import examine
from hearthmail_site.rendering import render_site


class LookupModule(LookupBase):
    """What Ansible looks for."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Name the problems."""
        self.set_options(var_options=variables, direct=kwargs)
        return [str(problem) for problem in examine(render_site(variables or {}, self._templar.template))]

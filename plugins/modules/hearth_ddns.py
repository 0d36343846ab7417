#!/usr/bin/python
"""Ansible module: run the DNS agent on the box, and tell what it changes as a diff."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hearth_ddns
short_description: Put the records of the box's domains in place at their DNS provider
description:
  - Runs C(hearth-ddns) on the box and returns what it changed, or would change, as a diff in zone file lines.
  - When a record of others is in the way, it fails with the agent's text, which shows both sides and the way out.
  - Where the agent is not installed yet (check mode on a bare box), nothing happens.
options:
  state:
    description:
      - V(published) puts all records in place, or none when a record of others is in the way.
      - V(planned) writes nothing; it is "changed" when something has to be done.
    type: str
    choices: [published, planned]
    default: published
  adopt:
    description: Take over the places in which records of others stand.
    type: bool
    default: false
  ahead:
    description:
      - Fragments which roles are about to write, by role; used to plan with.
    type: dict
    default: {}
  program:
    description: Where the agent is on the box.
    type: path
    default: /usr/local/bin/hearth-ddns
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: Hearthmail
"""

EXAMPLES = r"""
- name: Publish the records
  hearth_ddns:
    adopt: "{{ ddns_adopt }}"
"""

RETURN = r"""
report:
  description: The agent's report, as C(hearth-ddns plan --json) prints it.
  type: dict
  returned: when the agent is installed
"""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def command(program: str, state: str, adopt: bool) -> list[str]:
    """The agent's command for what is asked for."""
    if state == "published":
        return [program, "adopt" if adopt else "apply", "--json"]
    # When the records asked for were put in place already, nobody is asked; but who adopts wants a close look.
    return [program, "plan", "--json", "--ahead", "--adopt" if adopt else "--quick"]


def warnings(report: dict[str, Any]) -> list[str]:
    """What a person has to do although the agent did its part: the text of a task that is ok is not shown."""
    message = "\n".join(report["text"])
    by_hand = [zone["zone"] for zone in report["zones"] if zone["manual"] and zone["changes"]]
    told = [f"Records to be entered by hand, for {', '.join(by_hand)}:\n{message}"] if by_hand else []
    return told + [f"Not written at {place}" for zone in report["zones"] for place in zone["withheld"]]


def main() -> None:
    """Run the agent and translate its report."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["published", "planned"], "default": "published"},
            "adopt": {"type": "bool", "default": False},
            "ahead": {"type": "dict", "default": {}},
            "program": {"type": "path", "default": "/usr/local/bin/hearth-ddns"},
        },
        supports_check_mode=True,
    )
    program, adopt = module.params["program"], module.params["adopt"]
    state = "planned" if module.check_mode else module.params["state"]
    if module.check_mode and not Path(program).exists():
        module.exit_json(changed=False, msg="The agent is not installed yet: its plan is shown once it is.")
    ahead = json.dumps(module.params["ahead"]) if state == "planned" else None
    code, out, err = module.run_command(command(program, state, adopt), data=ahead)
    try:
        report = json.loads(out)
    except ValueError:
        module.fail_json(msg=f"hearth-ddns broke off with exit code {code}:\n{out}{err}", rc=code)
    result = {"changed": report["changed"], "diff": report["diff"], "report": report}
    message = "\n".join(report["text"])
    # A plan is followed by the run that publishes.
    for warning in warnings(report) if state == "published" or module.check_mode else ():
        module.warn(warning)
    if report["exit"] in (1, 3):
        module.fail_json(msg=message, **result)
    module.exit_json(msg=message, **result)


if __name__ == "__main__":
    main()

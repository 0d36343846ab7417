#!/usr/bin/python
"""Ansible module: run a long command on the box, and show how far it is. The action of this name does it all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hearth_progress
short_description: Run a long command on the box, and show how far it is
description:
  - What M(ansible.builtin.command) does, for a command that writes into a file how far it is.
  - The command does not end with the connection, nor with the controller. It is for commands that may be typed again,
    and that wait for an earlier run of theirs which is still at work.
  - How far it is, is shown at most every five seconds, ever more seldom the longer it takes, and not under C(no_log).
  - In check mode it is skipped.
options:
  argv:
    description: The command and its arguments; without a shell.
    type: list
    elements: str
    required: true
  progress:
    description:
      - The file into which it writes how far it is. JSON, replaced at one stroke, with C(command), C(pid) and C(text);
        without effect once no process has that number.
    type: path
    default: /run/hearthmail/backup.progress
  patience:
    description: For how many seconds the box may be out of reach while the command runs.
    type: float
    default: 600
attributes:
  check_mode: {support: partial, description: It is skipped.}
  diff_mode: {support: none}
author: Hearthmail
"""

EXAMPLES = r"""
- name: Make a backup
  hearth_progress:
    argv: [/usr/local/bin/hearth-backup, run, --json, --wait, "86400"]
  register: __backup_made
"""

RETURN = r"""
rc:
  description: How the command ended.
  type: int
  returned: when it has ended
stdout:
  description: What it wrote.
  type: str
  returned: when it has ended
stderr:
  description: What it wrote of errors.
  type: str
  returned: when it has ended
msg:
  description: The last lines that it wrote, where it failed.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Say that this is no module by itself."""
    module = AnsibleModule(
        argument_spec={
            "argv": {"type": "list", "elements": "str", "required": True},
            "progress": {"type": "path", "default": "/run/hearthmail/backup.progress"},
            "patience": {"type": "float", "default": 600},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="hearth_progress works by its action plugin: is action_plugins set in ansible.cfg?")


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: put several files of one service in place, in one visit to the box."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hearth_files
short_description: Write the files of a service from their templates, in one visit to the box
description:
  - What M(ansible.builtin.template) does, with one visit to the box instead of two for each file.
  - All files are checked by their O(files[].validate) before the first one is replaced.
  - In check mode they are only compared.
  - Each file takes its place by a rename.
options:
  files:
    description: The files of one service.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is on the box.
        type: path
        required: true
      template:
        description: Its template in the role; by default its path with C(.j2), as in C(etc/postfix/main.cf.j2).
        type: str
      content:
        description: What the template made; set by the action plugin.
        type: str
      mode:
        description: Its rights.
        type: str
        default: "0644"
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
      validate:
        description: A command which fails where the file is wrong; C(%s) stands for a copy of it.
        type: str
  folders:
    description: Folders, made before the files.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the folder is on the box.
        type: path
        required: true
      mode:
        description: Its rights.
        type: str
        default: "0755"
      owner:
        description: Its owner.
        type: str
        default: root
      group:
        description: Its group.
        type: str
        default: root
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: Hearthmail
"""

EXAMPLES = r"""
- name: Configure Postfix
  hearth_files:
    files:
      - {path: /etc/postfix/main.cf}
      - {path: /etc/postfix/relay_password, mode: "0600"}
  notify: Reload Postfix
"""

RETURN = r"""
written:
  description: The files and folders which were changed, or would be.
  type: list
  elements: str
  returned: always
"""

import os
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ATTRIBUTES = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
FOLDER = {**ATTRIBUTES, "mode": {"type": "str", "default": "0755"}}
FILE = {
    **ATTRIBUTES,
    "mode": {"type": "str", "default": "0644"},
    "template": {"type": "str"},
    "content": {"type": "str"},
    "validate": {"type": "str"},
}


def attributes(module: AnsibleModule, wanted: dict[str, Any], changed: bool) -> bool:
    """Give a file or folder its owner and rights; tells whether anything changed, or did already."""
    path = wanted["path"]
    changed = module.set_owner_if_different(path, wanted["owner"], changed)
    changed = module.set_group_if_different(path, wanted["group"], changed)
    return bool(module.set_mode_if_different(path, wanted["mode"], changed))


def validated(module: AnsibleModule, wanted: dict[str, Any]) -> str:
    """Write a file beside the ones in use and have it checked; gives where it lies."""
    descriptor, name = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "wb") as file:
        file.write(wanted["content"].encode())
    if wanted["validate"]:
        if "%s" not in wanted["validate"]:
            module.fail_json(msg=f"validate of {wanted['path']} does not say where the file goes: write %s")
        command = [word.replace("%s", name) for word in shlex.split(wanted["validate"])]
        code, out, errors = module.run_command(command)
        if code:
            module.fail_json(msg=f"{wanted['path']} would be wrong, nothing was changed: {(errors or out).strip()}")
    return name


def main() -> None:
    """Compare, check, write."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "options": FILE, "default": []},
            "folders": {"type": "list", "elements": "dict", "options": FOLDER, "default": []},
        },
        # What is written may be secret, and belongs into no log of the box.
        no_log=True,
        supports_check_mode=True,
    )
    written, diffs, ready = [], [], {}
    for file in module.params["files"]:
        path = Path(file["path"])
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
        if before != file["content"]:
            # What a check needs may be missing in check mode: an earlier task would have written it.
            ready[file["path"]] = "" if module.check_mode else validated(module, file)
            diffs.append(
                {
                    "before_header": file["path"],
                    "after_header": file["path"],
                    "before": before or "",
                    "after": file["content"],
                }
            )

    for folder in module.params["folders"]:
        missing = not Path(folder["path"]).is_dir()
        if missing and not module.check_mode:
            Path(folder["path"]).mkdir(parents=True)
        if attributes(module, folder, missing):
            written.append(folder["path"])

    for file in module.params["files"]:
        different = file["path"] in ready
        if different and not module.check_mode:
            module.atomic_move(ready[file["path"]], file["path"])
        if attributes(module, file, different):
            written.append(file["path"])
    module.exit_json(changed=bool(written), written=written, diff=diffs)


if __name__ == "__main__":
    main()

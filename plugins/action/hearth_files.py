"""Ansible action: render the templates of `hearth_files` on the controller, and have its module write them on the box.

A loop of `template` asks the box twice for each file; on a second run that is most of the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import generate_ansible_template_vars, trust_as_template


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no types
    """Fill in `content` of each file from its template, then run the module."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render and write.

        :raises AnsibleActionFail: a file without a path, or without a template.
        """
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        arguments = dict(self._task.args)
        arguments["files"] = [self._rendered(file, variables) for file in arguments.get("files", [])]
        result.update(self._execute_module(module_args=arguments, task_vars=variables))
        # It holds all files, which may be secret.
        result.pop("invocation", None)
        return result

    def _rendered(self, file: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Give a file with its content, as `ansible.builtin.template` would make it."""
        if "path" not in file:
            raise AnsibleActionFail(f"hearth_files: {dict(file)} has no path")
        name = file.get("template") or f"{file['path'].lstrip('/')}.j2"
        source = self._find_needle("templates", name)
        own = generate_ansible_template_vars(path=name, fullpath=source, dest_path=file["path"])
        templar = self._templar.copy_with_new_env(
            searchpath=[str(Path(source).parent)], available_variables={**variables, **own}
        )
        text = trust_as_template(self._loader.get_text_file_contents(source))
        content = templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True})
        return {**file, "content": content or ""}

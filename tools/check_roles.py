"""Hold the roles to their own word: what a role takes, what it says that it takes, and that it checks before it acts.

For each role: `defaults/main.yml` and `meta/argument_specs.yml` have the same keys, each begins with the role's name,
each default has a comment and each argument a description and a type; `tasks/preflight.yml` exists and changes nothing,
and `playbooks/preflight.yml` runs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
# What only looks. `command` and `shell` look too, if they say `changed_when: false`.
LOOKING_MODULES = (
    "assert fail debug stat slurp find uri wait_for getent setup package_facts service_facts listen_ports_facts "
    "set_fact include_vars include_tasks import_tasks"
)
LOOKING = frozenset(LOOKING_MODULES.split())
KEYWORDS = (
    "name when loop loop_control register vars tags become delegate_to run_once args check_mode changed_when "
    "failed_when no_log environment until retries delay notify block rescue always"
)
TASK_KEYWORDS = frozenset(KEYWORDS.split())


def load(path: Path) -> Any:
    """Read a YAML file; one that is missing or empty is None."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def commented_out(text: str) -> set[str]:
    """Name the inputs without a default: `# role_key: ...` at the beginning of a line."""
    return set(re.findall(r"^# ([a-z0-9_]+):(?: |$)", text, re.MULTILINE))


def uncommented(text: str) -> Iterator[str]:
    """Name the defaults without a comment right above them."""
    above = ""
    for line in text.splitlines():
        key = re.match(r"([a-z0-9_]+):", line)
        if key and not above.startswith("#"):
            yield key[1]
        above = line


def check_inputs(role: Path) -> Iterator[str]:
    """Compare defaults and argument specification."""
    defaults_path = role / "defaults" / "main.yml"
    specs_path = role / "meta" / "argument_specs.yml"
    text = defaults_path.read_text(encoding="utf-8") if defaults_path.exists() else ""
    defaults = set(load(defaults_path) or {})
    specs = load(specs_path)
    if specs is None:
        yield "has no meta/argument_specs.yml"
        return
    options: dict[str, Any] = specs.get("argument_specs", {}).get("main", {}).get("options") or {}
    # An input without a default is commented out; a comment that merely looks like one is no matter.
    optional = {key for key in commented_out(text) if key in options}
    for key in sorted(defaults - options.keys()):
        yield f"defaults/main.yml has {key}, meta/argument_specs.yml does not"
    for key in sorted(options.keys() - defaults - optional):
        yield f"meta/argument_specs.yml has {key}, defaults/main.yml does not"
    for key in sorted(defaults | options.keys()):
        if not key.startswith(f"{role.name}_"):
            yield f"{key} does not begin with {role.name}_"
    for key in uncommented(text):
        yield f"defaults/main.yml: {key} has no comment above it"
    for key, option in options.items():
        for word in ("description", "type"):
            if not option.get(word):
                yield f"meta/argument_specs.yml: {key} has no {word}"


def tasks_of(tasks: Any) -> Iterator[dict[str, Any]]:
    """Give all tasks of a file, those in blocks too."""
    for task in tasks or ():
        inner = [part for word in ("block", "rescue", "always") for part in task.get(word) or ()]
        if inner:
            yield from tasks_of(inner)
        else:
            yield task


def changes(task: dict[str, Any]) -> str | None:
    """Name the module of a task that may change something."""
    modules = [word for word in task if word not in TASK_KEYWORDS]
    for module in modules:
        name = module.rpartition(".")[2]
        if name in LOOKING or (name in ("command", "shell") and task.get("changed_when") is False):
            continue
        return module
    return None


def check_preflight(role: Path, run: set[str]) -> Iterator[str]:
    """See that the role checks before anything is changed."""
    path = role / "tasks" / "preflight.yml"
    if not path.exists():
        yield "has no tasks/preflight.yml"
        return
    for task in tasks_of(load(path)):
        module = changes(task)
        if module:
            yield f'tasks/preflight.yml: "{task.get("name", module)}" may change something ({module})'
    if role.name not in run:
        yield "is not in preflight_roles of playbooks/preflight.yml"


def check(project: Path) -> list[str]:
    """Name all that is wrong with the roles."""
    plays = load(project / "playbooks" / "preflight.yml") or []
    run = {role for play in plays for role in (play.get("vars") or {}).get("preflight_roles", ())}
    roles = sorted(path for path in (project / "roles").iterdir() if path.is_dir())
    found = [
        f"roles/{role.name} {problem}"
        for role in roles
        for problem in (*check_inputs(role), *check_preflight(role, run))
    ]
    found += [
        f"playbooks/preflight.yml names {name}, which is no role"
        for name in sorted(run - {role.name for role in roles})
    ]
    return found


if __name__ == "__main__":
    problems = check(PROJECT)
    print("\n".join(problems) or "All roles keep their word.")
    sys.exit(1 if problems else 0)

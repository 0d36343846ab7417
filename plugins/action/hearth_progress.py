"""Ansible action: run a long command on the box, and show here how far it is.

Ansible's own `async` starts it and keeps its end. This asks every two seconds with one `cat`: to start a module would
cost a small box more than the answer is worth.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeVar

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

Answer = TypeVar("Answer")

# A first backup over a home line takes days; async wants to know after how many seconds it shall kill.
LIMIT = 30 * 86400
OPTIONS = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "progress": {"type": "path", "default": "/run/hearthmail/backup.progress"},
    "patience": {"type": "float", "default": 600},
}
# Whether the job has a process, how it ended, and how far a run is which lives. In this order: a job that has
# no process any more has written its end before. Pattern and path are written so that this very command line, which
# /proc holds too, does not fit.
LOOK = """\
grep -qs {pattern} /proc/[0-9]*/cmdline && echo lives || echo gone
echo --; cat {job} 2>/dev/null; echo
echo --; pid=$(sed -n 's/.*"pid": \\([0-9][0-9]*\\).*/\\1/p' {progress} 2>/dev/null)
[ -d "/proc/$pid" ] && cat {progress} 2>/dev/null
true"""


def pause(elapsed: float) -> float:
    """Seconds until the box is asked again: what is soon done is soon seen."""
    return min(2.0, 0.2 + elapsed / 10)


def spacing(elapsed: float) -> float:
    """Seconds between two lines: an hour is not more than a hundred of them."""
    return max(5.0, elapsed / 20)


def last_words(result: Mapping[str, Any]) -> str:
    """The last lines that say something: they tell why it failed."""
    said = str(result.get("stderr") or "").strip() or str(result.get("stdout") or "").strip()
    return "; ".join(line.strip() for line in said.splitlines()[-3:] if line.strip())[-1000:]


def objects(said: str) -> tuple[bool, dict[str, Any], dict[str, Any]]:
    """Read the answer to `LOOK`: whether the job lives, its file, the progress."""
    lives, job, progress = [*said.replace("\r\n", "\n").split("\n--\n"), "", ""][:3]
    return lives.strip().endswith("lives"), _object(job), _object(progress)


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        # Not there; or Ansible is about to write its end: the next look sees it.
        return {}
    return data if isinstance(data, dict) else {}


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no types
    """Start, look again and again, tell."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the command to its end.

        :raises AnsibleActionFail: by Mitogen, whose `async` names no file of results.
        :raises AnsibleConnectionFailure: when the box cannot be reached for longer than `patience`.
        """
        if any(one.__module__.startswith("ansible_mitogen") for one in type(self).__mro__):
            raise AnsibleActionFail(
                "This needs Ansible's own strategy, by which a long command goes on when the line breaks. "
                "Type it again without ANSIBLE_STRATEGY=mitogen_linear; nothing has begun."
            )
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _, arguments = self.validate_argument_spec(argument_spec=OPTIONS)
        argv, progress = arguments["argv"], arguments["progress"]
        self._host = variables.get("inventory_hostname", "box")
        self._patience = arguments["patience"]
        if self._task.check_mode:
            words = "Command would have run if not in check mode"
            return {**result, "skipped": True, "changed": False, "msg": words, "rc": 0, "stdout": "", "stderr": ""}

        name = " ".join([PurePosixPath(argv[0]).name, *argv[1:2]])
        _, _, other = self._look("nothing", "/nonexistent", progress)
        if other:
            self._say(f"another run is at work, this one waits for it ({_line(other)})")
        started = self._start(argv, variables)
        if started.get("failed") or not started.get("ansible_job_id"):
            return {**result, **started}
        self._say(
            f"{name} began; it goes on there if this run breaks off, and the same command typed again waits for it"
        )
        begun = time.monotonic()
        ended = self._wait(started, progress, begun)
        took = f"{time.monotonic() - begun:.0f} s"
        if not ended:
            words = "ended on the box without a result: was the box started anew, or the command killed? Type it again."
            self._say(f"{name} was gone after {took}")
            return {**result, "failed": True, "changed": True, "msg": f"{name} {words}"}
        result.update(self._result(started, variables))
        words = last_words(result)
        if result.get("failed") and words:
            result["msg"] = words
            # It would be shown instead, and says only that the exit code was not zero.
            result.pop("exception", None)
        self._say(f"{name} {'failed' if result.get('failed') else 'is done'} after {took}")
        return result

    def _say(self, words: str) -> None:
        """Show a line, unless the task's output is a secret."""
        if not self._task.no_log:
            self._display.display(f"{self._host}: {words}")

    def _start(self, argv: Sequence[str], variables: dict[str, Any]) -> dict[str, Any]:
        """Let `command` run as a task with `async` does."""
        arguments = {"argv": argv, "expand_argument_vars": False}
        self._task.async_val = LIMIT
        try:
            started: dict[str, Any] = self._execute_module(
                module_name="ansible.legacy.command", module_args=arguments, task_vars=variables, wrap_async=True
            )
        finally:
            # For all others this is a task that has ended when we return.
            self._task.async_val = 0
        return started

    def _wait(self, started: Mapping[str, Any], progress: str, begun: float) -> bool:
        """Look and tell until the job has ended; gives whether it left a result."""
        shown, last = "", float("-inf")
        while True:
            elapsed = time.monotonic() - begun
            time.sleep(pause(elapsed))
            lives, job, far = self._patiently(
                lambda: self._look(started["ansible_job_id"].split(".")[0], started["results_file"], progress)
            )
            if job and "started" not in job:
                return True
            if not lives:
                return False
            now = time.monotonic()
            if far and _line(far) != shown and now - last >= spacing(elapsed):
                shown, last = _line(far), now
                self._say(shown)

    def _look(self, job: str, file: str, progress: str) -> tuple[bool, dict[str, Any], dict[str, Any]]:
        path = PurePosixPath(file)
        script = LOOK.format(
            pattern=shlex.quote(f"[{job[0]}]{job[1:]}"),
            job=f"{shlex.quote(f'{path.parent}/{path.name[0]}')}''{shlex.quote(path.name[1:])}",
            progress=shlex.quote(progress),
        )
        return objects(self._low_level_execute_command(script)["stdout"])

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask the box; while the line is down, again and again."""
        lost = None
        while True:
            try:
                answer = ask()
            except AnsibleConnectionFailure:
                now = time.monotonic()
                if lost is None:
                    lost = now
                    self._say("the line is lost; the command goes on there, and this waits for the line")
                if now - lost >= self._patience:
                    raise
                self._connection.reset()
                time.sleep(pause(now - lost))
                continue
            if lost is not None:
                self._say("the line is back")
            return answer

    def _result(self, started: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Fetch how the command ended, and take Ansible's note of it away."""
        arguments = {"jid": started["ansible_job_id"], "_async_dir": str(PurePosixPath(started["results_file"]).parent)}

        def status(mode: str) -> dict[str, Any]:
            answer: dict[str, Any] = self._execute_module(
                module_name="ansible.legacy.async_status",
                module_args={**arguments, "mode": mode},
                task_vars=variables,
            )
            return answer

        result = self._patiently(lambda: status("status"))
        self._patiently(lambda: status("cleanup"))
        # Of the job, which is no more.
        for key in ("ansible_job_id", "results_file", "started", "finished"):
            result.pop(key, None)
        return result


def _line(progress: Mapping[str, Any]) -> str:
    return f"{progress.get('command')}: {progress.get('text')}"

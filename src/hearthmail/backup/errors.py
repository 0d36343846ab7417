"""What can go wrong, told so that a person can act."""

from __future__ import annotations


class BackupError(Exception):
    """Something is wrong.

    :param kind: one word for programs, e.g. `password`, `missing`, `locked`; see `restic_errors`.
    :param problem: what is wrong, with the value that is wrong.
    :param way_out: what a person can do about it.
    """

    exit_code = 1

    def __init__(self, kind: str, problem: str, way_out: str) -> None:
        super().__init__(problem, way_out)
        self.kind = kind
        self.problem = problem
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.problem} {self.way_out}".strip()


# Another run here, another machine in the repository, a busy server, a line that is down: they say nothing about the
# backups.
PASSING = frozenset({"running", "locked", "busy", "unreachable"})


class RefusedError(BackupError):
    """It would have touched mail that is there. Nothing was changed."""

    exit_code = 3


class UsageError(BackupError):
    """What was typed cannot be meant."""

    exit_code = 2

    def __init__(self, problem: str, way_out: str) -> None:
        super().__init__("usage", problem, way_out)

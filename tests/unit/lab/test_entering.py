"""How tests enter a container: by its first process, as long as that is the same one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.flow import lab

NAME = "hearth-test"


@pytest.fixture
def first() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that stands for a container's first one."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list of what podman says when it is asked for that process, next one first."""
    said: list[str] = []

    def podman(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 0, f"{said.pop(0)}\n", "")

    monkeypatch.setattr(lab, "_podman", podman)
    monkeypatch.setattr(lab, "_firsts", {})
    return said


def test_it_is_asked_for_once(first: subprocess.Popen[bytes], answers: list[str]) -> None:
    answers.append(str(first.pid))
    assert [lab.pid_of(NAME), lab.pid_of(NAME)] == [first.pid, first.pid]
    assert f"--target={first.pid}" in lab.entering(NAME)


def test_one_that_has_ended_is_not_entered(first: subprocess.Popen[bytes], answers: list[str]) -> None:
    answers += [str(first.pid), "0"]
    lab.pid_of(NAME)
    first.kill()
    first.wait()
    with pytest.raises(lab.LabError, match=f"{NAME} does not run"):
        lab.entering(NAME)


def test_another_process_of_the_same_number_is_not_entered(
    first: subprocess.Popen[bytes], answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.append("0")
    monkeypatch.setattr(lab, "_firsts", {NAME: (first.pid, "1")})
    with pytest.raises(lab.LabError):
        lab.run(NAME, "true")
    assert not answers, "podman was not asked"


def test_who_looks_whether_it_runs_is_told(answers: list[str]) -> None:
    answers.append("0")
    done = lab.run(NAME, "true", check=False)
    assert (done.returncode, done.stdout) == (lab.NOT_RUNNING, "")

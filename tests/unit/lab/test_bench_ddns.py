"""The bench of the DNS agent, as far as it can be looked at without a lab."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flow import lab
from tools import bench_ddns


@pytest.mark.parametrize(
    ("count", "share", "place"),
    [(50, 0.5, 25), (50, 0.95, 48), (5, 0.5, 3), (5, 0.95, 5), (1, 0.95, 1), (100, 0.95, 95)],
)
def test_nearest_rank(count: int, share: float, place: int) -> None:
    values = [float(one) for one in range(count, 0, -1)]
    assert bench_ddns.rank(values, share) == place


@pytest.mark.parametrize("words", [["--only", "event,speed"], ["--count", "0"], ["--idle", "0"]])
def test_what_cannot_be_measured_is_said_at_once(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        bench_ddns.parse(words)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Stand for hearth-home: what systemd and the kernel tell there."""
    shown = {"MainPID": "77", "CPUUsageNSec": "[not set]"}
    (tmp_path / "proc/77").mkdir(parents=True)
    # The name of a process may hold spaces and brackets.
    stat = "77 (a (b) c) S 1 " + " ".join(["0"] * 9) + " 150 50 250 50 " + " ".join(["0"] * 30)
    (tmp_path / "proc/77/stat").write_text(stat)
    (tmp_path / "proc/77/status").write_text("Name:\tx\nVmHWM:\t   60000 kB\nVmRSS:\t   50000 kB\n")
    monkeypatch.setattr(lab, "out", lambda _name, *command: shown[command[-1]])
    monkeypatch.setattr(lab, "path_of", lambda _name, path: tmp_path / path.lstrip("/"))
    monkeypatch.setattr(bench_ddns.os, "sysconf", lambda _: 100)
    return shown


def test_processor_time_by_systemd(systemd: dict[str, str]) -> None:
    systemd["CPUUsageNSec"] = "2500000000"
    assert bench_ddns.processor_time()[0] == 2.5


@pytest.mark.parametrize("said", ["[not set]", "18446744073709551615"])
def test_processor_time_by_the_kernel_where_systemd_does_not_count(systemd: dict[str, str], said: str) -> None:
    systemd["CPUUsageNSec"] = said
    assert bench_ddns.processor_time()[0] == (150 + 50 + 250 + 50) / 100


def test_memory_is_what_is_resident_now(systemd: dict[str, str]) -> None:
    assert bench_ddns.resident_memory() == pytest.approx(51.2)


def test_a_service_that_does_not_run_is_no_zero(systemd: dict[str, str]) -> None:
    systemd["MainPID"] = "0"
    with pytest.raises(lab.LabError, match="does not run"):
        bench_ddns.resident_memory()


def test_times_run_from_the_change_to_each_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {"a": 103.5, "b": 107.0}
    monkeypatch.setattr(bench_ddns, "answers_with", lambda name, _address: seen[name])
    monkeypatch.setattr(bench_ddns.time, "sleep", lambda _: None)
    moves: list[str] = []

    def change(new: str) -> float:
        moves.append(new)
        return 100.0

    columns = bench_ddns.changes(change, ("x", "y"), ["a", "b"], 3, (0, 1))
    assert columns == [[3.5] * 3, [7.0] * 3]
    assert moves == ["x", "y", "x"]


@pytest.mark.parametrize("client", bench_ddns.CLIENTS, ids=lambda client: client.name)
def test_settings_of_other_clients_are_complete(client: bench_ddns.Client) -> None:
    text = client.settings.format(name="n.providers.example", interval=client.interval)
    assert "n.providers.example" in text
    assert str(client.interval) in text + client.command.format(place="/run/x", interval=client.interval)
    assert "{" not in text.replace("bench {", "")


def test_the_installer_is_a_shell_program() -> None:
    subprocess.run(["sh", "-n", "-c", bench_ddns.INSTALL], check=True)

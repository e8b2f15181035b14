"""One real boot: systemd as process 1 over a throw-away copy of this machine, with the units as they ship."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOOT = Path(__file__).parent / "boot"
LIMIT_SECONDS = 110


def _why_not() -> str | None:
    """What this machine lacks for a boot, or None."""
    if os.geteuid() != 0:
        return "booting systemd in a container takes root; run the tests as root for it"
    missing = [tool for tool in ("systemd-nspawn", "unshare", "setpriv", "jackd") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "demond-probe", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"root may not mount here: {probe.stderr.strip()}" if probe.returncode else None


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/systemd/inside.py observed."""
    if reason := _why_not():
        pytest.skip(reason)
    outcome = tmp_path_factory.mktemp("boot")
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with (outcome / "console.log").open("wb") as console:
        process = subprocess.Popen(
            [*command, str(BOOT), sys.prefix, str(outcome)],
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(LIMIT_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    result = outcome / "outcome.json"
    told = "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(outcome.glob("*.log")))
    assert result.exists(), f"the boot ended without a result:\n{told}"
    facts: dict[str, Any] = json.loads(result.read_text())
    assert "error" not in facts, f"{facts['error']}\n{told}\n{facts['journal'][-6000:]}"
    return facts


def test_demond_reports_itself_ready_and_says_what_it_does(seen: dict[str, Any]) -> None:
    assert seen["started"]["Type"] == "notify"
    assert (seen["started"]["ActiveState"], seen["started"]["SubState"]) == ("active", "running")
    assert seen["started"]["StatusText"]
    assert seen["started"]["StatusText"] in seen["systemctl_status"]


def test_the_model_plays_inside_the_sandbox(seen: dict[str, Any]) -> None:
    assert seen["plays"]


def test_both_services_run_as_their_own_user_and_reach_each_other(seen: dict[str, Any]) -> None:
    assert seen["demond_user"] == seen["jackd_user"] == "demond"
    assert seen["first_ports"]


def test_an_ordinary_user_gets_real_time_from_the_units(seen: dict[str, Any]) -> None:
    assert seen["jackd_realtime"] >= 1
    assert seen["realtime"] >= 1


def test_a_killed_jackd_comes_back_and_demond_is_not_restarted(seen: dict[str, Any]) -> None:
    assert seen["after_jackd"]["MainPID"] == seen["started"]["MainPID"]
    assert seen["after_jackd"]["NRestarts"] == "0"
    assert seen["plays_after_jackd"]
    assert seen["ports_after_jackd"] == seen["first_ports"]


def test_a_frozen_daemon_is_replaced_by_the_watchdog(seen: dict[str, Any]) -> None:
    assert seen["after_watchdog"]["NRestarts"] == "1"
    assert seen["after_watchdog"]["MainPID"] != seen["started"]["MainPID"]
    assert seen["plays_after_watchdog"]
    assert seen["ports_after_watchdog"] == seen["first_ports"]


def test_stopping_takes_less_than_two_seconds_and_leaves_nothing_behind(seen: dict[str, Any]) -> None:
    assert seen["stopped"]["ActiveState"] == "inactive"
    assert seen["stopped"]["Result"] == "success"
    assert seen["stop_seconds"] < 2
    assert seen["survivors"] == []
    assert seen["memory_left"] == []


def test_a_unit_per_gpu_has_its_own_port_client_and_state(seen: dict[str, Any]) -> None:
    assert seen["second_plays"]
    assert {"demond1:out_1", "demond1:out_2"} <= set(seen["second_ports"])
    assert seen["second_gpu"]
    assert seen["second_state"] == "demond"


def test_no_user_ever_meets_a_traceback_in_the_journal(seen: dict[str, Any]) -> None:
    assert "Traceback" not in seen["journal"]

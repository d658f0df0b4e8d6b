"""The standing server: shared, stopped by the last, and nothing of a run is lost at its end."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from polymine.commands.server import client as server_client
from polymine.commands.server import process as server_process
from polymine.commands.server import shared as server
from polymine.commands.server.process import Record, ServerError, write_record

TASKS = 30

RUN = """
import os, sys
from polymine.commands.server import shared as server
from polymine.commands.server.dead_runs import RUN_TAG
from polymine.commands.server.client import client_environment, forget_foreign_settings

handle = server.start()
forget_foreign_settings()
os.environ.update(client_environment(handle.url))
try:
    from prefect import flow, get_run_logger, tags, task
    from prefect.artifacts import create_markdown_artifact

    @task
    def work(number):
        get_run_logger().info("work %d", number)
        if number == int(sys.argv[2]):
            os.kill(os.getpid(), 9)

    @flow(name="trial")
    def trial(count: int):
        for number in range(count):
            work(number)
        for number in range(3):
            create_markdown_artifact("text", key=f"page-{number}")

    handle.wait()
    with tags(RUN_TAG):
        trial(int(sys.argv[1]))
finally:
    handle.release()
"""

HOLD = """
import sys
from polymine.commands.server import shared as server

with server.standing_server():
    print(server.status().pid, flush=True)
    sys.stdin.readline()
"""


def command(script: str, home: Path, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env=os.environ | {"POLYMINE_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count(home: Path, query: str) -> int:
    with sqlite3.connect(home / "server" / "prefect.db") as database:
        return int(database.execute(f"select count(*) from {query}").fetchone()[0])


@pytest.mark.flow
def test_a_server_is_shared_and_keeps_every_run_whole(tmp_path: Path) -> None:
    """One story, because each start of a server takes seconds."""
    finished = command(RUN, tmp_path, TASKS, -1)
    _, errors = finished.communicate(timeout=120)
    assert finished.returncode == 0, errors
    assert server.status(tmp_path / "server") is None
    assert count(tmp_path, "flow_run where state_type = 'COMPLETED'") == 1
    assert count(tmp_path, "task_run where state_type = 'COMPLETED'") == TASKS
    assert count(tmp_path, "task_run_state") == 3 * TASKS  # pending, running, completed
    assert count(tmp_path, "log where message like 'work %'") == TASKS
    assert count(tmp_path, "artifact") == 3

    killed = command(RUN, tmp_path, TASKS, 2)
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    left_behind = server.status(tmp_path / "server")
    assert left_behind is not None

    holders = [command(HOLD, tmp_path), command(HOLD, tmp_path)]
    pids = [int(holder.stdout.readline()) for holder in holders if holder.stdout]
    assert pids == [left_behind.pid, left_behind.pid]
    with pytest.raises(ServerError, match="in use"):
        server.stop(tmp_path / "server")
    holders[0].communicate("\n", timeout=60)
    assert left_behind.is_alive()
    holders[1].communicate("\n", timeout=60)
    assert not left_behind.is_alive()
    assert count(tmp_path, "flow_run where state_type = 'CRASHED'") == 1
    assert count(tmp_path, "task_run where state_type in ('RUNNING', 'PENDING')") == 0


def own_record(version: str, created: float | None = None) -> Record:
    myself = Record.of(psutil.Process(), 1, version, standing=False)
    return replace(myself, created=created or myself.created)


def test_a_record_of_a_process_that_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    write_record(tmp_path, own_record("3", created=1.0))  # the number went to another
    assert server.status(tmp_path) is None
    (tmp_path / "server.json").write_text(json.dumps({"pid": "what?"}))
    assert server.status(tmp_path) is None


def test_a_clock_that_is_set_does_not_hide_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, own_record("3"))
    booted = psutil.boot_time()
    for jump in (-86_400, 86_400):
        # The kernel says when it was booted by the clock of now.
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda jump=jump: booted + jump)
        assert server.status(tmp_path) is not None


def test_a_server_that_dies_is_an_error_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\necho the database is malformed\nexit 1\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    handle = server.start(folder=tmp_path)
    with pytest.raises(ServerError, match=r"(?s)ended while.*server\.log.*database is malformed"):
        handle.wait()
    handle.release()


def test_a_server_that_is_lost_comes_back_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = tmp_path / "idle"
    idle.write_text("#!/bin/sh\nexec sleep 60\n")
    idle.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(idle))
    handle = server.start(folder=tmp_path)
    lost = server.status(tmp_path)
    assert lost is not None
    assert not handle.revive()
    psutil.Process(lost.pid).kill()
    while lost.is_alive():
        time.sleep(0.01)
    assert handle.revive()
    back = server.status(tmp_path)
    assert back is not None
    assert back.pid != lost.pid
    assert back.port == lost.port
    psutil.Process(back.pid).kill()
    while back.is_alive():
        time.sleep(0.01)
    again = server.start(folder=tmp_path)  # another command finds a server that died
    assert again.url == handle.url
    psutil.Process(server.status(tmp_path).pid).kill()


def test_a_server_of_another_version_in_use_is_not_taken(tmp_path: Path) -> None:
    write_record(tmp_path, own_record("2.0"))
    with (tmp_path / "users.lock").open("a") as user:
        assert server._try_alone(user)
        with pytest.raises(ServerError, match=r"another version \(2\.0, process \d+\)"):
            server.start(folder=tmp_path)


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((server_process.HOST, 0)) as other:
        monkeypatch.setattr(server_process, "PREFERRED_PORT", other.getsockname()[1])
        with server_process._listen() as listener:
            assert listener.getsockname()[1] not in (0, other.getsockname()[1])


def test_settings_of_another_server_are_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://cloud.example/api")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql://elsewhere")
    environment = server_process._server_environment(tmp_path, 1234)
    assert "PREFECT_API_URL" not in environment
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith("/prefect.db")
    assert environment["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:1234/api"
    client = server_client.client_environment("http://127.0.0.1:1234/api", tmp_path)
    assert client["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "polymine.example"])
def test_other_machines_need_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in server_process.AUTH:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ServerError, match="set PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD"):
        server.start(folder=tmp_path, host=host)
    assert not (tmp_path / "users.lock").exists()
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:secret")
    server_process.check_host(host)
    environment = server_process._server_environment(tmp_path, 1234, host)
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == "admin:secret"
    client = server_client.client_environment("http://127.0.0.1:1234/api", tmp_path)
    assert client["PREFECT_API_AUTH_STRING"] == "admin:secret"
    server_client.forget_foreign_settings()
    assert server_client.auth_string() == "admin:secret"


def test_this_machine_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        server_process.check_host(host)

"""The server of a home: shared, stopped by the last, and nothing of a run is lost at its end."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import psutil
import pytest

from polymine.commands.server import client, process
from polymine.commands.server import shared as server
from polymine.commands.server.client import ServerError
from polymine.commands.server.record import Record

TASKS = 60
SOCKS = {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}

RUN = """
import os, sys
from polymine.commands.server.shared import find_server, status

lost, killed = map(int, sys.argv[2:])
server = find_server()
server.enter()
try:
    from prefect import flow, get_run_logger, tags, task
    from prefect.artifacts import create_markdown_artifact

    @task
    def work(number):
        get_run_logger().info("work %d", number)
        if number == lost:
            os.kill(status().pid, 9)
        if number == killed:
            os.kill(os.getpid(), 9)

    @flow(name="trial")
    def trial(count: int):
        for number in range(count):
            work(number)
        for number in range(3):
            create_markdown_artifact("text", key=f"page-{number}")

    server.wait()
    with tags(*server.tags), server.watched():
        trial(int(sys.argv[1]))
finally:
    server.release()
"""

HOLD = """
import sys
from polymine.commands.server import shared as server

with server.standing_server():
    print(server.status().pid, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path))
    for name in ("PREFECT_API_URL", *client.AUTH):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "server").mkdir()
    return tmp_path


def command(script: str, *arguments: object, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env=os.environ | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count(home: Path, query: str) -> int:
    with sqlite3.connect(home / "server" / "prefect.db") as database:
        return int(database.execute(f"select count(*) from {query}").fetchone()[0])


@pytest.mark.flow
def test_a_server_is_shared_and_keeps_every_run_whole(home: Path) -> None:
    """One story, because each start of a server takes seconds."""
    finished = command(RUN, TASKS, -1, -1, **SOCKS)
    _, errors = finished.communicate(timeout=120)
    assert finished.returncode == 0, errors
    assert server.status() is None
    assert count(home, "flow_run where state_type = 'COMPLETED'") == 1
    assert count(home, "task_run where state_type = 'COMPLETED'") == TASKS
    assert count(home, "task_run_state") == 3 * TASKS  # pending, running, completed
    assert count(home, "events where event like 'prefect.task-run.%'") == 3 * TASKS
    assert count(home, "log where message like 'work %'") == TASKS
    assert count(home, "artifact") == 3

    killed = command(RUN, TASKS, -1, 2)
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    left_behind = server.status()
    assert left_behind is not None

    holders = [command(HOLD), command(HOLD)]
    pids = [int(holder.stdout.readline()) for holder in holders if holder.stdout]
    assert pids == [left_behind.pid, left_behind.pid]
    with pytest.raises(ServerError, match="in use"):
        server.stop()
    idle, before = psutil.Process(left_behind.pid), time.monotonic()
    used = sum(idle.cpu_times()[:2])
    time.sleep(3)  # states are written in batches, and the kill of a server loses the last second
    used = sum(idle.cpu_times()[:2]) - used
    assert used < 0.3 * (time.monotonic() - before)  # a server with nothing to do does nothing
    without_server = command(RUN, TASKS, 5, -1)  # as when memory ran out
    _, errors = without_server.communicate(timeout=120)
    assert "was started again; the run continues" in errors
    assert without_server.returncode == 0, errors
    back = server.status()
    assert back is not None
    assert (back.url, back.pid == left_behind.pid) == (left_behind.url, False)
    holders[0].communicate("\n", timeout=60)
    assert server.status() == back
    holders[1].communicate("\n", timeout=60)
    assert server.status() is None
    assert count(home, "flow_run where state_type = 'COMPLETED'") == 2
    assert count(home, "flow_run where state_type = 'CRASHED'") == 1
    unfinished = "join flow_run f on f.id = t.flow_run_id where f.state_type = 'CRASHED'"
    assert count(home, f"task_run t {unfinished} and t.state_type in ('RUNNING', 'PENDING')") == 0
    assert count(home, "artifact where key = 'what-to-do'") == 1


def stand_in(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script run in place of the server."""
    file = folder / "stand-in"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(file))


def test_a_server_that_dies_is_an_error_with_its_last_words(home: Path, monkeypatch) -> None:
    stand_in("echo the database is malformed\nexit 1", home, monkeypatch)
    handle = server.start()
    with pytest.raises(ServerError, match=r"(?s)ended while.*server\.log.*database is malformed"):
        handle.wait()
    handle.release()


def test_a_server_that_died_is_started_again_at_its_address(home: Path, monkeypatch) -> None:
    stand_in("exec sleep 60", home, monkeypatch)
    handle = server.start()
    died = server.status()
    assert died is not None
    os.kill(died.pid, signal.SIGKILL)
    while handle.is_alive():
        time.sleep(0.01)
    assert server.status() is None
    handle.release()
    again = server.start(standing=True)
    assert again.url == handle.url
    again.release()
    assert again.is_alive()  # it stays
    stopped = server.stop()
    assert stopped is not None
    assert stopped.pid != died.pid
    assert server.status() is None


@pytest.mark.parametrize(("field", "value"), [("version", "2.0"), ("host", "::1")])
def test_a_server_of_another_kind_is_not_taken(home: Path, monkeypatch, field, value) -> None:
    stand_in("exec sleep 60", home, monkeypatch)
    server.start(standing=True).release()
    file = home / "server" / "server.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(ServerError, match=r"already.*polymine server stop"):
        server.start(host="::1" if field == "version" else "127.8.8.8")
    server.stop()


def test_a_broken_record_counts_for_nothing(home: Path) -> None:
    (home / "server" / "server.json").write_text(json.dumps({"pid": "what?"}))
    assert server.status() is None


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.create_server((client.HOST, 0)) as other:
        taken = other.getsockname()[1]
        assert process._free_port(client.HOST, taken) not in (0, taken)


def test_settings_of_another_server_are_left_behind(home: Path, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "of-the-cloud")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql://elsewhere")
    folder = home / "server"
    environment = process.server_environment(folder, client.HOST, 1234)
    assert "PREFECT_API_KEY" not in environment
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith("/prefect.db")
    assert environment["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:1234/api"
    for name in client.client_environment("", folder):
        monkeypatch.setenv(name, "")  # so that it is as before when this is done
    client.turn_to("http://127.0.0.1:1234/api", folder)
    assert "PREFECT_API_KEY" not in os.environ
    assert os.environ["PREFECT_PROFILES_PATH"] == str(folder / "profiles.toml")
    assert os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"


@pytest.mark.parametrize("proxy", ["socks5://h:1", "socks://h:1", "socks4://h:1", "h:1", "what"])
def test_no_proxy_of_the_environment_stands_before_this_machine(monkeypatch, proxy) -> None:
    for name in client.client_environment(""):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("ALL_PROXY", proxy)
    unknown = proxy.startswith(("socks://", "socks4"))
    assert client.turn_to("http://127.0.0.1:1234/api") == ["ALL_PROXY"] * unknown
    for near in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
        with httpx.Client() as made, pytest.raises(httpx.ConnectError, match="refused"):
            made.get(near)
    assert ("ALL_PROXY" in os.environ) != unknown  # models are still fetched through it


def test_a_server_that_the_environment_names_is_used_or_its_failure_said(monkeypatch) -> None:
    with socket.socket() as unheard:
        unheard.bind((client.HOST, 0))  # taken, and nobody listens
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        with pytest.raises(ServerError, match=rf"does not answer(?s:.*)PREFECT_API_URL={url} is"):
            server.find_server()
    assert not list((Path(os.environ["POLYMINE_HOME"]) / "server").glob("server.*on"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "polymine.example"])
def test_other_machines_need_a_password(home: Path, monkeypatch, host: str) -> None:
    with pytest.raises(ServerError, match="set PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD"):
        server.start(host=host)
    assert not (home / "server" / "users.lock").exists()
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:secret")
    process.check_host(host)
    environment = process.server_environment(home, host, 1234)
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == "admin:secret"
    assert environment["PREFECT_SERVER_UI_API_URL"] == "/api"
    settings = client.client_environment("http://127.0.0.1:1234/api", home)
    assert settings["PREFECT_API_AUTH_STRING"] == "admin:secret"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_none(host: str) -> None:
    process.check_host(host)
    assert Record(host, 4200, standing=True).url.endswith(":4200/api")

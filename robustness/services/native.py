"""Services of docker-compose.yml as processes of this machine: the same commands, the same
environment, other addresses and folders.

What Docker would give is replaced and nothing else: a service's name becomes 127.0.0.1, its port a
free one, /var/lib/polymine and /tmp folders of this run, /app the checkout. The images of Postgres
and Redis bring programs and an entry point; here these are Debian's.
"""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from robustness.services.compose import Service

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("5432", "6379", "4200", "8080")  # Postgres, Redis, API, a worker's health
_ADDRESS = re.compile(r"\b(?:postgres|redis|api|127\.0\.0\.1):(\d+)")


class ServiceError(Exception):
    """A service does not do what it should; holds the end of its log."""


class Machine:
    """Starts services below a folder, knows their ports, and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for part in ("home", "logs", "redis", "storage/data", "storage/store", "storage/runs"):
            (folder / part).mkdir(parents=True)
        folder.chmod(0o755)  # Postgres runs as another user, if we are root

    def run(self, service: Service) -> None:
        """Run a service to its end; raise if it fails."""
        self.start(service)
        process = self._running.pop(service.name)
        if code := process.wait(300):
            raise self._failure(service, f"ended with {code}")

    def start(self, service: Service) -> None:
        """Start a service."""
        (self.folder / "tmp" / service.name).mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"cwd": self._translate(service.folder)}
        if service.name == "postgres":
            options = _as_postgres(self.folder)
            command = self._make_cluster(service, options)
        else:
            command = [self._translate(word) for word in service.command]
        with (self.folder / "logs" / f"{service.name}.log").open("ab") as log:
            self._running[service.name] = subprocess.Popen(
                command, env=self.environment(service), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, **options,
            )  # fmt: skip

    def await_health(self, service: Service, limit: float = 600.0) -> None:
        """Run a service's own health check until it passes; raise after `limit` seconds."""
        kind, *test = [self._translate(word) for word in service.health]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        deadline = time.monotonic() + limit
        while True:
            checked = subprocess.run(
                command, env=self.environment(service), cwd=ROOT, capture_output=True, text=True
            )
            if checked.returncode == 0:
                return
            process = self._running[service.name]
            if process.poll() is not None:
                raise self._failure(service, f"ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise self._failure(service, f"is not healthy: {checked.stderr.strip()[-300:]}")
            time.sleep(0.5)

    def environment(self, service: Service) -> dict[str, str]:
        """Return a service's environment from the compose file, and what an image would add."""
        name = service.name
        own = {key: self._translate(text, name) for key, text in service.environment.items()}
        programs = [Path(sys.executable).parent, *_postgres_programs(), os.environ["PATH"]]
        image = {
            "PATH": os.pathsep.join(map(str, programs)),
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        if threads := os.environ.get("OMP_NUM_THREADS"):
            image["OMP_NUM_THREADS"] = threads
        if service.name == "postgres":
            image |= {"PGHOST": "127.0.0.1", "PGPORT": self.ports["5432"]}
        return image | own

    def stop(self, name: str) -> None:
        """End one service as `docker stop` does: SIGTERM, and SIGKILL to what is left."""
        process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """End what runs, the latest first."""
        for name in reversed(list(self._running)):
            self.stop(name)

    def _translate(self, text: str, name: str = "") -> str:
        text = re.sub(r"^/tmp\b", str(self.folder / "tmp" / name), text)
        text = text.replace("0.0.0.0", "127.0.0.1").replace("/var/lib/polymine", str(self.storage))
        text = _ADDRESS.sub(lambda found: f"127.0.0.1:{self.ports[found[1]]}", text)
        folders = {"/app": str(ROOT), "/data": str(self.folder / "redis")}
        text = folders.get(text, text)
        text = text.replace("redis-cli", f"redis-cli -p {self.ports['6379']}")
        listen = f"--bind 127.0.0.1 --port {self.ports['6379']}"
        text = text.replace("redis-server redis.conf", f"redis-server redis.conf {listen}")
        return self.ports.get(text, text)

    def _make_cluster(self, service: Service, options: dict[str, Any]) -> list[str]:
        """Do what the image's entry point does, and return the command that serves the cluster."""
        place, given = options["cwd"], service.environment
        secret = place / "password"
        secret.write_text(given["POSTGRES_PASSWORD"])
        secret.chmod(0o600)
        if "user" in options:
            shutil.chown(secret, options["user"])
        user = given["POSTGRES_USER"]
        make = ["initdb", "-D", "cluster", "-U", user, "--pwfile", secret.name]
        make += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        single = ["postgres", "--single", "-D", "cluster", "postgres"]
        request = f'CREATE DATABASE "{given["POSTGRES_DB"]}"\n'
        for command, said in ((make, None), (single, request)):
            done = subprocess.run(
                command, input=said, env=self.environment(service), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
            )  # fmt: skip
            if done.returncode:
                raise ServiceError(f"{command[0]}: {done.stdout[-500:]}")
        listen = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        return ["postgres", "-D", "cluster", "-p", self.ports["5432"], *listen]

    def _failure(self, service: Service, what: str) -> ServiceError:
        log = self.folder / "logs" / f"{service.name}.log"
        lines = log.read_text(errors="replace").splitlines()[-12:]
        return ServiceError(f"{service.name} {what}\n" + "\n".join(f"  {line}" for line in lines))


def _free_ports(count: int) -> list[str]:
    """Find ports that are free now; all are held until the last is found, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _postgres_programs() -> list[Path]:
    """Return the folder of Debian's newest Postgres; empty if it lies on the path anyway."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return [path.parent for path in sorted(found, key=lambda path: int(path.parts[4]))][-1:]


def _as_postgres(folder: Path) -> dict[str, Any]:
    """Return how to start Postgres, which refuses to run as root: the user and its own folder."""
    place = folder / "postgres"
    place.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        return {"cwd": place}
    user = pwd.getpwnam("postgres")
    shutil.chown(place, user.pw_uid, user.pw_gid)
    return {"cwd": place, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

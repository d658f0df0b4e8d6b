"""Health checks of the services: what is well passes, what is not says why."""

import http.server
import shutil
import socket
import subprocess
import threading
import time

import pytest

from polymine.commands import health


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *args):
        return


@pytest.fixture
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_is_well_if_it_answers_with_200(address, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # never asked
    assert health.check_address(f"{address}/well") is None
    assert "503" in str(health.check_address(f"{address}/ill"))
    assert "refused" in str(health.check_address("http://127.0.0.1:1/well"))


@pytest.fixture
def redis_url(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    yield f"redis://127.0.0.1:{port}/1"
    server.terminate()
    server.wait(10)


def test_services_are_well_if_they_gave_a_sign_of_life(redis_url, monkeypatch):
    import redis

    monkeypatch.delenv("PREFECT_SERVER_DOCKET_URL", raising=False)
    assert health.check_services() == "PREFECT_SERVER_DOCKET_URL is not set"
    monkeypatch.setenv("PREFECT_SERVER_DOCKET_URL", redis_url)
    with redis.Redis.from_url(redis_url) as client:
        while "Redis: " in str(health.check_services()):
            time.sleep(0.05)
        assert "sign of life ever" in str(health.check_services())
        client.zadd(health.DOCKET, {"gone": time.time() - 60})
        assert "sign of life for 60 s" in str(health.check_services())
        client.zadd(health.DOCKET, {"here": time.time() - 1})
        assert health.check_services() is None

"""Two runs that train the same: one at a time, and the other says what it waits for."""

import logging
import os
import socket
import threading
from pathlib import Path

import pytest

from polymine.tasks.training.locks import alone


def test_who_waits_says_for_whom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    def second() -> None:
        with alone(tmp_path / "checkpoints" / "adapter"):
            order.append("second")

    with caplog.at_level(logging.INFO, "polymine"), alone(tmp_path / "checkpoints" / "adapter"):
        assert not caplog.records
        other = threading.Thread(target=second)
        other.start()
        other.join(0.5)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]
    [said] = caplog.messages
    own = f"process {os.getpid()} on {socket.gethostname()}"
    assert said.startswith(f"{own} trains the same (adapter); this run waits")

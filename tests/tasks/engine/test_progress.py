"""Progress becomes throttled log lines with throughput and time left."""

import logging

import pytest

from polymine.reporting.formatting import as_key
from polymine.tasks.engine.progress import TaskProgress, format_speed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_log_lines_are_throttled_and_say_how_fast(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    progress = TaskProgress(clock)
    with caplog.at_level(logging.INFO, logger="polymine.progress"):
        progress.start("embed minilm", 2000, "texts")
        for _ in range(10):
            clock.now += 12.0
            progress.advance("embed minilm", 100)
        progress.advance("embed minilm", 1000)
        progress.finish("embed minilm")
    assert [record.getMessage() for record in caplog.records] == [
        "embed minilm: 100 of 2,000 texts, 8.3 texts/s, 4 minutes left",
        "embed minilm: 600 of 2,000 texts, 8.3 texts/s, 3 minutes left",
        "embed minilm: 2,000 texts in 2 minutes, 17 texts/s",
    ]


def test_keys_and_numbers_are_written_for_their_readers() -> None:
    assert as_key("Embed minilm (GPU)", "progress") == "embed-minilm-gpu-progress"
    assert [format_speed(speed) for speed in (1234.5, 12.3, 1.26)] == ["1,234", "12", "1.3"]

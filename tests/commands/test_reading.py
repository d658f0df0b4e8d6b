"""`polymine inspect` as a command: it answers at once, and says what is wrong with a call."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("prefect", "torch", "faiss", "scipy", "matplotlib", "transformers", "datasets")


def polymine(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "polymine.commands.main", *arguments],
        env=os.environ | {"POLYMINE_HOME": str(home), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys\n"
        "import polymine.commands.reading, polymine.tasks.runs.diff\n"
        f"print('heavy:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "heavy: []" in said


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("nowhere", "there is no such folder"), (".", "not the folder of a finished run")],
)
def test_what_is_no_run_is_refused(tmp_path: Path, folder: str, expected: str) -> None:
    finished = polymine(tmp_path, "inspect", folder, "q")
    assert finished.returncode == 2
    assert expected in finished.stderr
    assert "Traceback" not in finished.stderr

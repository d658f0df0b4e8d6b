"""The command line as its users meet it: quick answers, clear errors, exit codes."""

import io
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from rich.console import Console

from polymine.commands import main as command_line
from polymine.commands.summary import show
from polymine.data_contracts.errors import InputError

SUMMARY = {
    "output": "runs/demo",
    "report": "runs/demo/report.html",
    "triplet": {
        "anchor": "Return the sum.",
        "positive": "Adds its two numbers.",
        "negative": "Subtracts them.",
        "anchor_language": "und",
        "negative_language": "de",
        "positive_score": 0.91,
        "negative_score": 0.52,
    },
    "funnel": [{"step": "candidates", "count": 12345, "note": "of two teachers"}],
    "reused": ["ingest"],
    "timings": [{"stage": "embed", "seconds": 12.34}, {"stage": "found", "seconds": 0.01}],
    "warnings": ["minilm finds 9.2 % of the known positives"],
    "headline": "8 triplets from 8 queries",
}


@dataclass(frozen=True)
class Finished:
    """What a command returned and printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def polymine(tmp_path, monkeypatch, capsys) -> Callable[..., Finished]:
    """Run a command in this process, with a home of its own that is not there yet."""
    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["polymine", *arguments])
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        return Finished(int(stopped.value.code or 0), *capsys.readouterr())

    return run


def test_it_is_a_module_that_says_its_version() -> None:
    command = [sys.executable, "-m", "polymine"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == version("polymine")
    failed = subprocess.run([*command, "run", "no.toml"], capture_output=True, check=False)
    assert (failed.returncode, failed.stdout) == (2, b"")


def test_the_examples_of_help_are_commands() -> None:
    group = typer.main.get_command(command_line.app)
    for name, text in command_line.EXAMPLES.items():
        command, *arguments = shlex.split(text)
        assert command == name
        group.commands[name].make_context(name, arguments)  # fails at a wrong option or argument


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("[mining\n", [], "not a TOML file"),
        ('[dataset]\ncorpus = "x"\n[output]\npath = "x"\n', ["mining.depht=5"], "`depth`"),
    ],
)
def test_wrong_settings_are_refused_before_a_server_starts(
    polymine, tmp_path: Path, text: str, overrides: list[str], expected: str
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    options = [part for override in overrides for part in ("--set", override)]
    finished = polymine("run", str(file), *options)
    assert finished.returncode == 2
    assert expected in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["export", "nowhere", "nemo"], "nowhere: there is no such folder"),
        (["export", ".", "tevatorn"], "did you mean `tevatron`?"),
        (["inspect", ".", "q"], "not the folder of a finished run"),
    ],
)
def test_what_is_no_run_or_no_format_is_refused(
    polymine, arguments: list[str], expected: str
) -> None:
    finished = polymine(*arguments)
    assert finished.returncode == 2
    assert expected in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_missing_file_is_named(polymine) -> None:
    finished = polymine("run", "nowhere.toml")
    assert (finished.returncode, finished.stderr.strip()) == (
        2,
        "nowhere.toml: there is no such file",
    )


def test_status_without_a_server(polymine) -> None:
    finished = polymine("server", "status")
    assert (finished.returncode, finished.stdout.strip()) == (1, "There is no server running")


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (InputError("corpus.parquet: 3 rows without text"), 2, "corpus.parquet: 3 rows"),
        (KeyError("nowhere"), 1, "The full traceback is in"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_failure_has_its_exit_code(
    error: BaseException,
    code: int,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(name: str, file: Path, overrides: list[str] | None) -> None:
        raise error

    monkeypatch.setenv("POLYMINE_HOME", str(tmp_path))
    monkeypatch.setattr(command_line, "run_file", fail)
    monkeypatch.setattr(sys, "argv", ["polymine", "run", "any.toml"])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    assert stopped.value.code == code
    shown = capsys.readouterr().err
    assert expected in shown
    assert "Traceback" not in shown
    if code == 1:
        [log] = (tmp_path / "logs").iterdir()
        assert "Traceback" in log.read_text()
        assert str(log) in shown.replace("\n", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_the_summary_shows_a_triplet_and_where_it_lies_and_ends_with_the_headline(
    terminal: bool,
) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)
    show(SUMMARY, seconds=15.0, console=console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for expected in (
        "Return the sum.", "Adds its two numbers.", "Subtracts them.", "positive · score 0.910",
        "negative · de · score 0.520", "ingest", "embed 12.3 s", "whole command 15.0 s",
        "runs/demo/triplets/*.parquet", "runs/demo/report.html", "polymine ui",
        "Check this: ", "minilm finds 9.2 %",
    ):  # fmt: skip
        assert expected in shown
    assert "found" not in shown  # no time to speak of
    assert ("anchor ─" in shown, "12,345" in shown) == (terminal, terminal)
    lines = shown.strip().splitlines()
    assert lines[-1].strip() == SUMMARY["headline"]
    assert terminal or len(lines) == 3 + 6 + 1

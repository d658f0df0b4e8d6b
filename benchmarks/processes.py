"""Runs one side of a comparison in a process of its own and reads what it cost."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def measure(module: str, job: dict[str, Any], environment: dict[str, str] | None = None) -> Any:
    """Run `python -m module JOB` and return its JSON result with wall seconds and peak memory.

    The child writes its result as the last line of its standard output. Peak memory is the largest
    resident set of that process, as the kernel accounts it.
    """
    return measure_command([sys.executable, "-m", module, json.dumps(job)], environment)


def measure_command(command: list[str], environment: dict[str, str] | None = None) -> Any:
    """Run a command; if its last line is JSON, return that too."""
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        child = subprocess.Popen(
            command, stdout=output, stderr=sys.stderr, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = output.read().strip().splitlines()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} ended with {child.returncode}")
    result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return {**result, "wall_s": round(wall, 2), "peak_mb": round(usage.ru_maxrss / 1024)}


def save(name: str, result: Any, folder: Path = RESULTS) -> Path:
    """Keep a result as JSON."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def load(name: str) -> dict[str, Any]:
    """Read what an earlier call kept."""
    path = RESULTS / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return kept


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    import platform

    import torch

    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "bfloat16": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        "gpus": torch.cuda.device_count(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def table(rows: list[list[str]]) -> str:
    """Lay rows out in columns as a Markdown table; the first row is the head."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def told(options: argparse.Namespace) -> dict[str, Any]:
    """Name the options a result depends on: not where things lay on this machine."""
    places = {"data", "work", "store", "cache", "no_results"}
    return {name: value for name, value in vars(options).items() if name not in places}


def measure_sets(
    kept_as: str, options: argparse.Namespace, run: Callable[[str], dict[str, Any]]
) -> None:
    """Measure the sets asked for; after each, a run that is stopped has what it measured."""
    results = []
    for name in options.sets:
        results.append(run(name))
        print(results[-1], flush=True)
        if not options.no_results:
            found = {"machine": machine(), "options": told(options), "sets": results}
            save(kept_as, found)

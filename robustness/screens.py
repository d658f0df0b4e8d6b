"""Takes the pictures of docs/: a run in Prefect's UI while it runs, finished, and failed.

    python -m robustness.screens [--out docs] [--settings configs/demo.toml]

Starts a server in a home of its own, runs the demo and a run on a broken file through the command
line, and looks at their pages with a headless Chromium. Takes as long as the demo, a few minutes.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
WIDTH = 1300  # pixels
LARGEST = 200_000  # bytes of a picture
COLOURS = 96  # of a picture: pages are flat, and a palette takes a third of the bytes
LONG = ("embed", "rank", "evidence", "train")  # stages worth being seen under way


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--settings", type=Path, default=ROOT / "configs" / "demo.toml")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screens-") as folder:
        os.environ["POLYMINE_HOME"] = folder
        take_pictures(Path(folder), asked.settings.absolute(), asked.out)


def take_pictures(folder: Path, settings: Path, out: Path) -> None:
    """Start the server and the runs, and look at their pages."""
    from polymine.commands.server.client import ask, newest_flow_run
    from polymine.commands.server.shared import standing_server

    with standing_server() as server:
        started = start(settings, folder, "demo")
        run = wait_for(lambda: newest_flow_run(server.url))
        page = f"{server.ui_url}/v2/runs/flow-run/{run['id']}"
        wait_for(lambda: is_under_way(ask, server.url, run["id"]) or started.poll() is not None)
        with held(started):
            look(out / "ui-running.png", (f"{page}?tab=Artifacts", 800))
        if started.wait() != 0:
            raise SystemExit(f"the demo failed: {page}")
        pages = [(f"{page}?tab=Artifacts", 1200), (show(server, run["id"], "mine-risk"), 1000)]
        look(out / "ui-finished.png", *pages)

        broken = folder / "queries.csv"
        broken.write_text("query_id,text\nq1,What is the default of axis?\nq1,Which axis?\n")
        sources = [f"dataset.{key}={broken}" for key in ("corpus", "queries", "judgments")]
        start(settings, folder, "nightly", *sources).wait()
        failed = newest_flow_run(server.url)
        assert failed is not None
        page = f"{server.ui_url}/v2/runs/flow-run/{failed['id']}"
        pages = [(f"{page}?tab=Artifacts", 800), (show(server, failed["id"], "what-to-do"), 900)]
        look(out / "ui-failed.png", *pages)


def start(settings: Path, folder: Path, name: str, *overrides: str) -> "subprocess.Popen[bytes]":
    """Start a run on the command line, beside this process."""
    sets = [f"output.path={folder / 'runs' / name}", *overrides]
    command = [sys.executable, "-m", "polymine.commands.main", "run", str(settings)]
    return subprocess.Popen(
        [*command, *(part for each in sets for part in ("--set", each))],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder,
    )  # fmt: skip


@contextmanager
def held(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Halt a run while it is pictured, which may take longer than the stage to be seen."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def is_under_way(ask: Any, url: str, run: str) -> bool:
    """Whether a long stage has shown progress."""
    found = {"flow_runs": {"id": {"any_": [run]}}, "artifacts": {"type": {"any_": ["progress"]}}}
    keys = [str(artifact["key"]) for artifact in ask(url, "artifacts/filter", found)]
    return any(key.startswith(LONG) for key in keys)


def wait_for(question: Any, limit: float = 900.0) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(1.0)
    raise SystemExit("waited in vain; is the machine very slow?")


def show(server: Any, run: str, key: str) -> str:
    """Address of the page of an artifact of a run."""
    from polymine.commands.server.client import ask

    found = {"flow_runs": {"id": {"any_": [run]}}, "artifacts": {"key": {"any_": [key]}}}
    (artifact,) = ask(server.url, "artifacts/filter", found)
    return f"{server.ui_url}/v2/artifacts/artifact/{artifact['id']}"


def look(path: Path, *pages: tuple[str, int]) -> None:
    """Picture pages, one below the other and each of this height, in few colours."""
    pictures = [look_at(page, height, path.with_suffix(".one.png")) for page, height in pages]
    whole = Image.new("RGB", (WIDTH, sum(picture.height for picture in pictures)))
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    whole.quantize(COLOURS).save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path}: {path.stat().st_size:,} bytes; picture less of the page")
    print(f"{path}: {path.stat().st_size:,} bytes", flush=True)


def look_at(page: str, height: int, path: Path) -> Image.Image:
    """Picture a page as a browser of this height shows it; `path` is used in between."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no chromium on this machine; on Debian: apt-get install chromium")
    subprocess.run(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--window-size={WIDTH},{height}", "--virtual-time-budget=15000",
         f"--screenshot={path.absolute()}", page],
        check=True, capture_output=True, timeout=400,
    )  # fmt: skip
    with Image.open(path) as picture:
        kept = picture.convert("RGB")
    path.unlink()
    return kept


if __name__ == "__main__":
    main()

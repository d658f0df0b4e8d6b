"""Builds the wheel, offline, and counts what it holds."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ("data_contracts", "polymine", "tasks", "flows", "commands")
SHIPPED = ("configs", "examples")  # folders of data in the package


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the sources in `folder`, offline; return its path.

    From a copy, since setuptools leaves its own folders beside the sources.
    """
    source = folder / "source"
    source.mkdir(parents=True)
    for name in (*LAYERS, *SHIPPED):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("benchmarks", "robustness", "shipped", "tests"):  # must stay out
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    for name in ("pyproject.toml", "prefect.yaml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--wheel-dir", str(folder), str(source)], check=True)
    return next(folder.glob("polymine-*.whl"))


def measure_wheel() -> Iterator[list[str]]:
    """What the wheel holds, a row a folder below `polymine/`."""
    yield ["in the wheel", "files", "lines of py and j2", "kB"]
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(build_wheel(Path(folder))) as wheel,
    ):
        files, lines, sizes = Counter[str](), Counter[str](), Counter[str]()
        for entry in wheel.infolist():
            parts = entry.filename.split("/")
            names = ("all", "/".join(parts[:2]) if len(parts) > 2 else parts[0])
            for name in names:
                files[name] += 1
                sizes[name] += entry.file_size
                if entry.filename.endswith((".py", ".j2")):
                    lines[name] += wheel.read(entry).count(b"\n")
    for name in sorted(files):
        yield [name, str(files[name]), f"{lines[name]:,}", f"{sizes[name] / 1000:,.0f}"]

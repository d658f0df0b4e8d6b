"""What is installed: the package with its rooms, and nothing of what stands beside it."""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile

import polars as pl
import pytest

from benchmarks.wheel import LAYERS, ROOT, build_wheel

_HERE = str(ROOT)
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^polymine (.*?)(?:  +#.*)?$", README, re.MULTILINE)
# By words alone, which takes seconds; and what takes minutes is planned, from the same settings.
CHEAPER = {
    "demo": """demo --set 'mining.teachers=[{name="bm25",kind="lexical"}]'""",
    "pipeline pipeline.toml": "plan pipeline.toml",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel") / "build")


def test_it_holds_polymine_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"polymine"}
    rooms = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert set(LAYERS) - {"polymine"} <= rooms
    assert not {"benchmarks", "robustness", "shipped", "tests"} & rooms
    for kept in ("configs/demo.toml", "examples/parallel/corpus.jsonl", "prefect.yaml"):
        assert f"polymine/{kept}" in names
    for kept in ("embedded/risk/weights.json", "commands/main.py", "tasks/store/datasets.py"):
        assert f"polymine/{kept}" in names
    assert any(name.endswith(".j2") for name in names)


def test_a_user_with_tasks_and_flows_of_their_own_gets_ours(wheel, tmp_path):
    """As `polymine` is started in such a folder: the current folder comes first on the path.

    The path keeps the environment's packages, which may lie within the checkout, as .venv does.
    """
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    (tmp_path / "flows").mkdir()
    for name in ("tasks.py", "commands.py", "data_contracts.py", "flows/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit('the folder of the user was imported')")
    program = f"""
import sys
packages = [p for p in sys.path if "site-packages" in p or not p.startswith({_HERE!r})]
sys.path[:] = ["", {str(installed)!r}, *packages]
from polymine.commands.main import app
from polymine.data_contracts.settings import RunSettings
import polymine.flows.mining, polymine.tasks.mining.export
assert polymine.flows.mining.__file__.startswith({str(installed)!r}), polymine.flows.mining
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    begin = "from polymine.commands.main import main\nsys.argv[1:] = ['init', 'train']\nmain()"
    subprocess.run([sys.executable, "-c", program + begin], cwd=tmp_path, check=True)
    assert (tmp_path / "train.toml").is_file()
    assert (tmp_path / "examples" / "parallel" / "corpus.jsonl").is_file()


@pytest.fixture
def command_line(wheel, tmp_path):
    """Call what the wheel holds in a folder of its own, as `python -m polymine` there does."""
    installed, here = tmp_path / "installed", tmp_path / "here"
    zipfile.ZipFile(wheel).extractall(installed)
    here.mkdir()
    env = os.environ | {"PYTHONPATH": str(installed), "POLYMINE_HOME": str(tmp_path / "home")}

    def call(text, *shell):
        said = [*shell, text] if shell else [sys.executable, "-m", "polymine", *shlex.split(text)]
        return subprocess.run(
            said, cwd=here, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    call.folder = here
    return call


def test_it_says_its_version_and_completes_in_the_shell(command_line):
    said = command_line("--version")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", said.stdout), said.stderr
    told = f"{shlex.quote(sys.executable)} -m polymine --show-completion; true"  # asks its parent
    shown = command_line(told, "bash", "-c").stdout
    assert " _POLYMINE_COMPLETE=complete_bash" in shown


def test_every_init_of_the_help_writes_a_file_that_names_nothing_else(command_line):
    done = command_line("init evaluate")
    assert done.returncode == 0, done.stderr
    assert (command_line.folder / "examples" / "parallel" / "corpus.jsonl").is_file()


@pytest.mark.proof
def test_every_command_of_the_readme_runs_where_there_is_no_checkout(command_line):
    data = command_line.folder / "DATA"
    (data / "qrels").mkdir(parents=True)
    names = [f"animal{at:02d}" for at in range(30)]
    tables = {
        "corpus": [{"_id": f"d-{name}", "text": f"The {name} lives in hills."} for name in names],
        "queries": [{"_id": f"q-{name}", "text": f"Where does the {name} live?"} for name in names],
    }
    for table, rows in tables.items():
        (data / f"{table}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judged = "".join(f"q-{name}\td-{name}\t1\n" for name in names)
    (data / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    assert {"demo", "init mine DATA", "run mine.toml", "init pipeline"} <= set(COMMANDS)
    for text in COMMANDS:
        said = command_line(CHEAPER.get(text, text).replace("QUERY_ID", "q-animal07"))
        assert said.returncode == 0, f"polymine {text}\n{said.stdout}\n{said.stderr}"
        if text == "demo":
            assert len((said.stdout + said.stderr).splitlines()) < 40
        if text == "run mine.toml":
            triplets = pl.read_parquet(command_line.folder / "runs" / "mine-01" / "triplets")
            triplets.write_parquet(command_line.folder / "triplets.parquet")

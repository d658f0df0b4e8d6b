"""What is installed: the package with its rooms, and nothing of what stands beside it."""

import subprocess
import sys
import zipfile

import pytest

from benchmarks.wheel import LAYERS, ROOT, build_wheel

_HERE = str(ROOT)


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

"""What takes seconds to import, or must wait for a choice, is imported when it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODELS = {
    "torch", "peft", "faiss", "scipy", "matplotlib", "transformers", "sentence_transformers",
    "datasets", "prefect",
}  # fmt: skip
HEAVY = MODELS | {"polars", "numpy", "pydantic"}
SETTINGS = {"dataset": {"pairs": "pairs.csv"}, "output": {"path": "out"}}


@pytest.mark.parametrize(
    ("said", "absent"),
    [
        pytest.param("import polymine", HEAVY, id="the package"),
        pytest.param(
            "from polymine.commands.main import app\napp(['--help'], standalone_mode=False)",
            HEAVY, id="help",
        ),
        pytest.param(
            "import polymine\nfrom polymine.commands import reading\npolymine.open, polymine.diff",
            MODELS, id="reading a run",
        ),
        pytest.param(
            "from polymine.data_contracts.settings import RunSettings, check_as\n"
            f"check_as(RunSettings, {SETTINGS!r}, 'x')",
            MODELS | {"polars"}, id="settings",
        ),
        pytest.param(
            "import polymine.models, polymine.mining.embedding, polymine.mining.validation",
            {"torch", "peft"}, id="encoder and scorer",
        ),
        pytest.param(
            "import polymine.flows.planning, polymine.flows.gap",
            MODELS - {"prefect", "scipy"}, id="flows and plans",
        ),
        # Prefect reads its environment once, and would start a server of its own.
        pytest.param(
            "from pathlib import Path\n"
            "from polymine.commands.deploy.command import PLAN, copy_folder, read_plan, want\n"
            "want(read_plan(PLAN), PLAN.parent)\n"
            "copy_folder('examples', PLAN.parent, Path('/x'), dry=True)\n"
            "from polymine.commands.server.shared import find_server",
            {"prefect"}, id="deploy",
        ),
    ],
)  # fmt: skip
def test_is_not_imported_by(said: str, absent: set[str]) -> None:
    script = f"{said}\nimport sys\nprint('imported:', sorted({absent!r} & set(sys.modules)))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.endswith("imported: []\n"), done.stdout + done.stderr
    assert done.stderr == ""

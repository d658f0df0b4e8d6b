"""The documentation builds as a site without a warning: no link or anchor leads nowhere."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_site_builds_and_describes_every_key(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    keys = (tmp_path / "settings.html").read_text()
    for key in ("max_false_negative_rate", "[[mining.teachers]]", "phases", "gpu_pool"):
        assert key in keys

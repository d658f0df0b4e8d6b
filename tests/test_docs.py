"""The documentation builds as a site without a warning: no link or anchor leads nowhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

from polymine.reading.roles import CORPUS, JUDGMENTS, PAIRS, PARALLEL, QUERIES

ROOT = Path(__file__).parents[1]


def test_the_site_builds_and_describes_every_key(tmp_path):
    # Not quietly: a warning that mkdocs does not write is one that it does not count.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    keys = (tmp_path / "settings.html").read_text()
    for key in ("max_false_negative_rate", "[[mining.teachers]]", "phases", "gpu_pool"):
        assert key in keys


def test_every_name_that_a_column_may_go_by_is_listed():
    page = (ROOT / "docs" / "files.md").read_text()
    told = set(re.findall(r"`([^`\n]+)`", page.partition("## Which column")[2]))
    roles = (CORPUS, QUERIES, JUDGMENTS, PAIRS, PARALLEL)
    names = {name for role in roles for key in role.needed for name in role.columns[key]}
    assert names | set(PAIRS.columns["negative"]) | set(JUDGMENTS.columns["relevance"]) <= told

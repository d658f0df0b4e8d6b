"""Which code a run was made with."""

from pathlib import Path

from prefect.utilities.hashing import file_hash

from polymine.flows import MODULES, find_flow
from polymine.tasks.engine.source_version import source_version
from polymine.tasks.monitoring import failures

ROOMS = ("data_contracts", "mining", "tasks", "flows")


def test_another_line_anywhere_is_another_version(tmp_path: Path) -> None:
    for number, package in enumerate(ROOMS):
        (tmp_path / package / "inner").mkdir(parents=True)
        (tmp_path / package / "inner" / "module.py").write_text(f"line = {number}\n")
    (tmp_path / "commands").mkdir()
    seen = [_version(tmp_path)]
    (tmp_path / "commands" / "module.py").write_text("line = 0\n")  # decides no result
    assert _version(tmp_path) == seen[0]
    for package in ROOMS:
        (tmp_path / package / "inner" / "module.py").write_text("line = 9\n")
        seen.append(_version(tmp_path))
    (tmp_path / "tasks" / "inner").rename(tmp_path / "tasks" / "other")
    seen.append(_version(tmp_path))
    assert len(set(seen)) == len(seen)


def _version(root: Path) -> str:
    source_version.cache_clear()
    return source_version(root)


def test_every_flow_is_of_the_version_that_its_stages_are_of() -> None:
    """Left to itself Prefect takes the file with `explains_failures` for the flow's."""
    versions = {find_flow(name).version for name in MODULES}
    assert versions == {source_version()}
    assert file_hash(str(failures.__file__)) not in versions

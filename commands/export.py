"""Makes a training view or another trainer's files from a finished run, without mining again."""

from pathlib import Path

from polymine.tasks.mining.run_folder import beside_run, check_shape, export_run


def export(run: Path, name: str, to: Path | None) -> str:
    """Do what `polymine export` says and return the line it prints."""
    shape = check_shape(name)
    folder = run.expanduser().resolve()
    target = to.expanduser().absolute() if to else beside_run(folder, shape)
    records = export_run(folder, shape, target)
    return f"{records:,} records of {shape} in {target}"

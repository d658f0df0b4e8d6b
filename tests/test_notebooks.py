"""The notebooks in examples/ run from top to bottom, in an empty folder."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.proof
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_something_in_each_cell(path, tmp_path):
    book = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)  # they are made by running it
    NotebookClient(book, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in book.cells:
        assert cell.cell_type != "code" or cell.outputs

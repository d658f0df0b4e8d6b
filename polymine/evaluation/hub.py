"""Rows of data sets from the Hugging Face hub, or from a copy of one in a folder."""

import tempfile
from pathlib import Path

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.models.failures import first_line


def hub_rows(dataset: str, config: str, split: str) -> pl.DataFrame:
    """Load all rows of one configuration and split.

    Args:
        dataset: `owner/name`, with `@revision` to pin it, or a folder laid out as the hub's is:
            data files and a README.md that names the configurations.
        config, split: as the data set calls them.

    Returns:
        The rows in the hub's order, one at least.

    Raises:
        InputError: where the data cannot be reached or hold no such configuration or split.
    """
    import datasets

    folder = Path(dataset).is_dir()
    name, _, revision = (dataset, "", "") if folder else dataset.partition("@")
    place = f"{dataset} (configuration {config}, split {split})"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            # `datasets` knows a folder by its name alone: its cache would give what an earlier
            # copy held.
            fresh = {"cache_dir": scratch, "keep_in_memory": True} if folder else {}
            loaded = datasets.load_dataset(
                name, config, split=split, revision=revision or None, **fresh
            )
    except OSError as error:
        raise InputError(
            f"{place}: cannot be read ({first_line(error)}). Connect to the hub, or name a "
            "folder that holds a copy"
        ) from error
    except (ValueError, datasets.exceptions.DatasetsError) as error:
        # `datasets` says which configurations or splits there are.
        raise InputError(f"{place}: {first_line(error)}") from error
    frame = loaded.to_polars()
    assert isinstance(frame, pl.DataFrame)
    if frame.is_empty():
        raise InputError(f"{place}: has no rows")
    return frame

"""The demo: docstrings that read like text."""

import polars as pl
import pytest

from polymine.data_contracts.settings import DatasetSettings
from polymine.mining.ingestion import ingest
from polymine.tasks.sources.demo_text import passage_of
from polymine.tasks.sources.reading import fingerprint_sources, read_sources


class TestDemo:
    def test_docstrings_make_good_tables(self):
        raw = read_sources(DatasetSettings(corpus="demo:docstrings"))
        assert raw.fingerprint == fingerprint_sources(DatasetSettings(corpus="demo:docstrings"))
        assert 1_000 <= raw.documents.height <= 2_000
        assert raw.documents["text"].str.len_chars().is_between(120, 1_000).all()
        assert not raw.documents["text"].str.contains(r"(?m)>>>|:func:|^\.\. ").any()
        result = ingest(raw.documents, raw.queries, raw.judgments, names=raw.names)
        reasons = set(result.closure["reason"].cast(pl.String))
        assert {"positive", "near_copy"} <= reasons
        assert result.copies.height > 0

    def test_docstring_becomes_summary_and_prose(self):
        docstring = (
            "Sort the rows of `frame`.\n\nRows are put in order by :func:`~pkg.compare`; see [1]_."
            " Equal\nrows keep the order in which they stood, so that sorting twice by different"
            " keys works\nas expected.\n\n.. versionadded:: 2.0\n    Faster.\n\n"
            "Parameters\n----------\nkey : str, optional\n    What to sort by.\n\n"
            "Examples\n--------\n>>> sort()\n"
        )
        assert passage_of(docstring) == (
            "Sort the rows of frame.",
            "Rows are put in order by compare; see. Equal rows keep the order in which they stood,"
            " so that sorting twice by different keys works as expected.\nkey: What to sort by.",
        )

    @pytest.mark.parametrize("docstring", ["Too short.", "Do %(what)s.\n\n" + "x " * 200, ""])
    def test_docstrings_that_make_no_pair(self, docstring):
        assert passage_of(docstring) is None

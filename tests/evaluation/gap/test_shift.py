"""SHIFT takes a language's offset away, and nothing where there is none."""

import numpy as np
import polars as pl
import pytest

from polymine.evaluation.gap.cosines import translation_cosines
from polymine.evaluation.gap.shift import without_offsets
from tests.evaluation.gap.small_gap import parallel, related, vectors


def test_what_a_language_adds_to_all_of_its_texts_is_gone():
    texts = parallel(40)
    meaning = related(texts, noise=0.1)
    offsets = {"de": 2.0, "en": -1.0, "ru": 0.5}
    added = texts.texts["language"].replace_strict(offsets, return_dtype=pl.Float32).to_numpy()
    moved = meaning + np.outer(added, np.eye(8)[0]).astype(np.float32)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    shifted = without_offsets(moved, texts.texts["language"])
    assert np.linalg.norm(shifted, axis=1) == pytest.approx(1, abs=1e-6)

    def above(found):
        return translation_cosines(texts, found)[0].filter(measure="above-random")["value"].mean()

    assert above(shifted) > above(moved) + 0.1


def test_means_of_languages_coincide_before_vectors_are_made_unit_ones():
    drawn = vectors(6)
    languages = pl.Series(["de", "de", "en", "en", "en", "ru"])
    shifted = without_offsets(drawn, languages)
    means = {
        code: drawn[(languages == code).to_numpy()].mean(axis=0) for code in ("de", "en", "ru")
    }
    middle = np.mean(list(means.values()), axis=0)
    wanted = drawn[2] - means["en"] + middle
    assert shifted[2] == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-5)


def test_one_language_alone_stays_as_it_was():
    drawn = vectors(5)
    assert np.array_equal(without_offsets(drawn, pl.Series(["en"] * 5)), drawn)

"""SHIFT takes a language's offset away, and nothing where there is none."""

import numpy as np
import polars as pl
import pytest

from polymine.evaluation.gap.cosines import translation_cosines
from polymine.evaluation.gap.shift import language_offsets, without_offsets
from tests.evaluation.gap.small_gap import parallel, related, vectors


def test_what_a_language_adds_to_all_of_its_texts_is_gone():
    texts = parallel(40)
    meaning = related(texts, noise=0.1)
    offsets = {"de": 2.0, "en": -1.0, "ru": 0.5}
    added = texts.texts["language"].replace_strict(offsets, return_dtype=pl.Float32).to_numpy()
    moved = meaning + np.outer(added, np.eye(8)[0]).astype(np.float32)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    languages = texts.texts["language"]
    shifted = without_offsets(moved, languages, language_offsets([(moved, languages)]))
    assert np.linalg.norm(shifted, axis=1) == pytest.approx(1, abs=1e-6)

    def above(found):
        return translation_cosines(texts, found)[0].filter(measure="above-random")["value"].mean()

    assert above(shifted) > above(moved) + 0.1


def test_means_of_languages_coincide_before_vectors_are_made_unit_ones():
    drawn = vectors(6)
    languages = pl.Series(["de", "de", "en", "en", "en", "ru"])
    shifted = without_offsets(drawn, languages, language_offsets([(drawn, languages)]))
    means = {
        code: drawn[(languages == code).to_numpy()].mean(axis=0) for code in ("de", "en", "ru")
    }
    middle = np.mean(list(means.values()), axis=0)
    wanted = drawn[2] - means["en"] + middle
    assert shifted[2] == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-5)


def test_one_language_alone_stays_as_it_was():
    drawn = vectors(5)
    languages = pl.Series(["en"] * 5)
    offsets = language_offsets([(drawn, languages)])
    assert without_offsets(drawn, languages, offsets) == pytest.approx(drawn, abs=1e-6)


def test_both_sides_of_a_set_have_one_offset_per_language():
    """As if questions and documents were one side; a side by itself would have another."""
    asked, found = vectors(7, seed=1), vectors(11, seed=2)
    languages = pl.Series(["de", "en", "ru"] * 6)
    offsets = language_offsets([(asked, languages[:7]), (found, languages[7:])])
    whole = np.concatenate([asked, found])
    for code in ("de", "en", "ru"):
        means = {c: whole[(languages == c).to_numpy()].mean(axis=0) for c in ("de", "en", "ru")}
        wanted = means[code] - np.mean(list(means.values()), axis=0)
        assert offsets[code] == pytest.approx(wanted, abs=1e-6)
    together = without_offsets(whole, languages, offsets)
    apart = [without_offsets(asked, languages[:7], offsets),
             without_offsets(found, languages[7:], offsets)]  # fmt: skip
    assert np.array_equal(np.concatenate(apart), together)
    alone = language_offsets([(asked, languages[:7])])
    assert not np.allclose(alone["de"], offsets["de"], atol=1e-2)

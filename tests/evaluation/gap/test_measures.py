"""Measures of parallel texts against SciPy, scikit-learn, and loops that say what is meant."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm, spearmanr
from sklearn.metrics import silhouette_samples

from polymine.evaluation.gap.agreement import rank_consistency
from polymine.evaluation.gap.bitext import mining_errors
from polymine.evaluation.gap.cosines import (
    compatible_cosines,
    human_over_machine,
    translation_cosines,
)
from polymine.evaluation.gap.parallel import Parallel
from polymine.evaluation.gap.projection import project
from polymine.evaluation.gap.separation import separation
from polymine.evaluation.gap.sts import (
    compare_crossed,
    cross_pairs,
    flag_scored,
    name_changes,
    name_scores,
)
from polymine.evaluation.significance import Resampling
from tests.evaluation.gap.small_gap import parallel, related, values, vectors


@pytest.fixture(scope="module")
def texts() -> Parallel:
    return parallel()


@pytest.fixture(scope="module")
def embedded(texts):
    return related(texts, noise=0.5)


def of(texts: Parallel, embedded, code: str):
    return embedded[texts.rows[:, texts.languages.index(code)]].astype(np.float64)


class TestRankConsistency:
    def test_is_scipys_correlation_of_the_two_orderings(self, texts, embedded):
        cases = rank_consistency(texts, embedded)
        german, russian = of(texts, embedded, "de"), of(texts, embedded, "ru")
        for reference, value in enumerate(values(cases, "rank-consistency", "de", "ru")):
            others = np.arange(len(german)) != reference
            wanted = spearmanr(
                german[others] @ german[reference], russian[others] @ russian[reference]
            )
            assert value == pytest.approx(wanted.statistic, abs=1e-6)

    def test_equal_spaces_agree_whatever_their_rotation(self, texts):
        turned, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
        same = related(texts, noise=0.0)
        same[1::3] = same[1::3] @ turned
        cases = rank_consistency(texts, same.astype(np.float32))
        assert cases["value"].to_numpy() == pytest.approx(1, abs=1e-3)

    def test_pairs_are_over_the_texts_that_both_have(self, texts, embedded):
        kept = np.flatnonzero(
            ~((texts.texts["language"] == "ru") & (texts.texts["group"] < "004")).to_numpy()
        )
        part = Parallel(texts.texts[kept])
        cases = rank_consistency(part, embedded[kept])
        counts = dict(cases.group_by("language_a", "language_b").len().select(
            pl.concat_str("language_a", "language_b"), "len").iter_rows())  # fmt: skip
        assert counts == {"deen": 12, "deru": 8, "enru": 8}


class TestCosines:
    def test_a_pair_stands_beside_the_mean_of_both_texts_with_all_others(self, texts, embedded):
        cases, spreads = translation_cosines(texts, embedded)
        a, b = of(texts, embedded, "de"), of(texts, embedded, "en")
        table, size = a @ b.T, len(a)
        random = [
            (sum(table[i, j] + table[j, i] for j in range(size) if j != i)) / (2 * (size - 1))
            for i in range(size)
        ]
        assert values(cases, "translation", "de", "en") == pytest.approx(table.diagonal(), abs=1e-6)
        assert values(cases, "random", "de", "en") == pytest.approx(random, abs=1e-6)
        above = table.diagonal() - random
        assert values(cases, "above-random", "de", "en") == pytest.approx(above, abs=1e-6)
        row = spreads.row(by_predicate=(pl.col("kind") == "random") & (pl.col("language_a") == "de")
                          & (pl.col("language_b") == "en"), named=True)  # fmt: skip
        others = table[~np.eye(size, dtype=bool)]
        assert row["count"] == size * (size - 1)
        assert row["q95"] == pytest.approx(np.quantile(others, 0.95), abs=1e-6)
        assert row["deviation"] == pytest.approx(others.std(), abs=1e-6)

    def test_compatible_texts_are_compared_within_their_language(self):
        pairs = pl.DataFrame({"language": ["de", "en", "de"], "case": ["1", "1", "2"]})
        left, right = vectors(3, seed=1), vectors(3, seed=2)
        cases, _ = compatible_cosines(pairs, left, right)
        assert set(cases["language_a"]) == {"de"}  # one English pair has nothing to stand beside
        wanted = [left[0] @ right[0], left[2] @ right[2]]
        assert values(cases, "compatible", "de", "de") == pytest.approx(wanted, abs=1e-6)

    def test_an_answer_is_not_random_beside_any_of_its_questions(self):
        """Questions 0 and 1 have one answer, which stands in two pairs; 2 has two answers."""
        pairs = pl.DataFrame({"language": ["de"] * 4, "case": ["0", "1", "2", "3"]})
        left, right = vectors(4, seed=1), vectors(3, seed=2)[[0, 0, 1, 2]]
        together = {(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 3)}
        table = pl.DataFrame(sorted(together), ["left", "right"], orient="row")
        cases, spreads = compatible_cosines(pairs, left, right, table)
        random = [
            np.mean(
                [left[i] @ right[j] for j in range(4) if (i, j) not in together]
                + [left[j] @ right[i] for j in range(4) if (j, i) not in together]
            )
            for i in range(4)
        ]
        found = values(cases, "compatible-random", "de", "de")
        assert found == pytest.approx(random, abs=1e-6)
        count = spreads.filter(kind="compatible-random")["count"].item()
        assert count == 16 - len(together)

    def test_people_are_held_against_machines_by_the_same_source(self):
        rows = [
            ("de", "en", "1", 0.9), ("de", "de-x-mt", "1", 0.8), ("de-x-mt", "en", "1", 0.7),
            ("de", "en", "2", 0.5),
        ]  # fmt: skip
        cases = pl.DataFrame(rows, ["language_a", "language_b", "case", "value"], orient="row")
        cases = cases.select(pl.lit("translation").alias("measure"), pl.all())
        found = human_over_machine(cases)
        assert found.select("language_a", "language_b", "case").rows() == [("en", "de", "1")]
        assert found["value"].to_list() == pytest.approx([0.2])


class TestMining:
    def test_xsim_is_the_ratio_margin_of_artetxe_and_schwenk(self, texts, embedded):
        cases = mining_errors(texts, embedded)
        asked, found = of(texts, embedded, "en"), of(texts, embedded, "de")

        def near(vector, others):
            return np.sort(others @ vector)[-4:].sum() / 8

        wanted = []
        for i, vector in enumerate(asked):
            scores = [
                vector @ other / (near(vector, found) + near(other, asked)) for other in found
            ]
            wanted.append(float(np.argmax(scores) != i))
        assert values(cases, "xsim", "de", "en").tolist() == wanted
        plain = (asked @ found.T).argmax(axis=1) != np.arange(len(asked))
        assert values(cases, "nearest-error", "de", "en").tolist() == plain.tolist()

    def test_translations_at_one_place_are_all_found(self, texts):
        assert mining_errors(texts, related(texts, noise=0.0))["value"].sum() == 0


class TestSeparation:
    def test_silhouettes_and_neighbours_are_those_of_scikit_learn(self, texts, embedded):
        cases = separation(texts, embedded, neighbours=3)
        languages, groups = texts.texts["language"].to_numpy(), texts.texts["group"].to_numpy()
        german = languages == "de"
        for measure, labels in (("silhouette-language", languages), ("silhouette-meaning", groups)):
            wanted = silhouette_samples(embedded, labels, metric="cosine")[german]
            assert values(cases, measure, "de", "de") == pytest.approx(wanted, abs=1e-4)
        cosines = embedded @ embedded.T - 9 * np.eye(len(embedded))
        nearest = np.argsort(-cosines, axis=1)[:, :3]
        pure = (languages[nearest] == languages[:, None]).mean(axis=1)
        assert values(cases, "purity", "de", "de") == pytest.approx(pure[german])
        assert set(values(cases, "purity-by-chance", "de", "de")) == {11 / 35}

    def test_a_probe_tells_languages_that_lie_apart_and_guesses_others(self):
        texts = parallel(40)
        shift = np.zeros((120, 8), dtype=np.float32)
        shift[::3, 0] = shift[1::3, 1] = shift[2::3, 2] = 3
        mixed = related(texts, noise=0.3)
        apart = separation(texts, mixed + shift, neighbours=5)
        together = separation(texts, mixed, neighbours=5)
        assert apart.filter(measure="probe")["value"].mean() > 0.95
        assert together.filter(measure="probe")["value"].mean() < 0.6


class TestSimilarity:
    PAIRS = pl.DataFrame({
        "group_id": [str(at) for at in range(8)] * 2,
        "language_a": ["de"] * 8 + ["en"] * 8, "language_b": ["de"] * 8 + ["en"] * 8,
        "gold": [0.0, 1, 2, 3, 4, 5, 2.5, 1.5] * 2,
    })  # fmt: skip

    def test_versions_of_a_pair_measure_every_direction(self):
        crossed = cross_pairs(self.PAIRS)
        assert crossed.group_by("language_a", "language_b").len()["len"].to_list() == [8] * 4
        left, right = vectors(16, seed=1), vectors(16, seed=2)
        rows = compare_crossed(crossed, left, right)
        scores = name_scores(rows, "m", "s", fewest=8, confidence=0.95)
        cosines = (left[:8] * right[8:]).sum(axis=1)  # German first, English second texts
        wanted = spearmanr(cosines, self.PAIRS["gold"][:8]).statistic
        row = scores.filter(language_a="de", language_b="en")
        assert row["value"].item() == pytest.approx(wanted)
        assert row.select("count", "flagged").row(0) == (8, False)

    def test_versions_that_people_scored_otherwise_are_no_versions(self):
        other = self.PAIRS.with_columns(
            gold=pl.when(pl.col("language_a") == "en").then(5 - pl.col("gold")).otherwise("gold")
        )
        crossed = cross_pairs(other)
        mixed = crossed.filter(pl.col("language_a") != pl.col("language_b"))
        assert set(mixed["gold"]) == {2.5}

    def test_few_pairs_are_marked_and_have_wide_intervals(self):
        few, many = self.scored("fr", 8, 0.5), self.scored("de", 250, 0.5)
        named = name_scores(pl.concat([few, many]), "m", "s", fewest=10, confidence=0.95)
        named = named.sort("count")
        assert named["flagged"].to_list() == [True, False]
        widths = (named["high"] - named["low"]).to_list()
        assert widths[0] > 2 * widths[1]
        value = named["value"][1]  # Bonett and Wright (2000)
        half = norm.ppf(0.975) * np.sqrt((1 + value**2 / 2) / 247)
        wanted = np.tanh([np.arctanh(value) - half, np.arctanh(value) + half])
        assert named.select("low", "high").row(1) == pytest.approx(wanted)

    def scored(self, code: str, count: int, noise: float, seed: int = 0) -> pl.DataFrame:
        """Pairs whose cosine follows the score, but for the noise."""
        gold = np.linspace(0, 1, count)
        cosines = gold + noise * np.random.default_rng(seed).normal(size=count)
        return pl.DataFrame({"case": [f"{at:03}" for at in range(count)], "similarity": cosines,
                             "gold": gold}).select(
            pl.lit(code).alias("language_a"), pl.lit("en").alias("language_b"), pl.all()
        )  # fmt: skip

    def test_a_change_is_the_difference_of_scipys_correlations_on_the_same_pairs(self):
        before, after = self.scored("de", 200, 0.8, seed=1), self.scored("de", 200, 0.4, seed=2)
        how = Resampling(resamples=400)
        row = name_changes(after, before, ("new", "old"), "s", 10, how).row(0, named=True)
        gold = before["gold"]
        new, old = (spearmanr(each["similarity"], gold).statistic for each in (after, before))
        assert row["change"] == pytest.approx(new - old)
        assert 0 < row["low"] < row["change"] < row["high"]
        rng, drawn = np.random.default_rng(5), []
        for _ in range(400):
            at = rng.integers(0, 200, 200)
            drawn.append(
                spearmanr(after["similarity"].to_numpy()[at], gold.to_numpy()[at])[0]
                - spearmanr(before["similarity"].to_numpy()[at], gold.to_numpy()[at])[0]
            )
        assert (row["low"], row["high"]) == pytest.approx(
            np.quantile(drawn, [0.025, 0.975]), abs=0.03
        )
        assert (row["model"], row["reference"], row["flagged"]) == ("new", "old", False)

    def test_directions_without_a_correlation_are_named_and_have_none(self):
        pairs = pl.DataFrame({
            "group_id": [str(at) for at in range(20)], "gold": [1.0, 2, 3] + [2.0] * 17,
            "language_a": ["fr"] * 3 + ["de"] * 17, "language_b": ["pl"] * 3 + ["en"] * 17,
        })  # fmt: skip
        crossed = cross_pairs(pairs)
        flags = flag_scored(crossed, 10)
        assert flags.select("language_a", "count", "example").rows() == [
            ("de", 17, "but one score"), ("fr", 3, "3 of 10 pairs"),
        ]  # fmt: skip
        assert compare_crossed(crossed, vectors(20), vectors(20, seed=1)).is_empty()


def test_maps_are_the_same_every_time_and_within_their_frame(texts, embedded):
    first, again = (project(texts, embedded, seed=3) for _ in range(2))
    assert first.equals(again)
    assert {"t-SNE"} <= set(first["method"])
    assert first.select(pl.col("x", "y").is_between(0, 1).all()).row(0) == (True, True)

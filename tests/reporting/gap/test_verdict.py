"""The verdict says what the intervals bear out, and nothing else."""

import polars as pl

from polymine.data_contracts.gap import GapChanges, GapScores
from polymine.reporting.gap.measures import MEASURES
from polymine.reporting.gap.report import GapReport
from polymine.reporting.gap.verdict import find_verdict, write_headline

Number = tuple[str, str, str, float, float]  # measure, languages, value, half its interval


def scores(*numbers: Number) -> pl.DataFrame:
    rows = [("m", "s", measure, a, b, 20, value, value - half, value + half, False)
            for measure, a, b, value, half in numbers]  # fmt: skip
    return GapScores.validate(pl.DataFrame(rows, GapScores.column_names(), orient="row"), cast=True)


def changes(*numbers: Number) -> pl.DataFrame:
    rows = [("new", "m", "s", measure, a, b, 20, value, value - half, value + half, False)
            for measure, a, b, value, half in numbers]  # fmt: skip
    return GapChanges.validate(
        pl.DataFrame(rows, GapChanges.column_names(), orient="row"), cast=True
    )


def verdict(*numbers: Number, changed: pl.DataFrame | None = None) -> str:
    report = GapReport(
        title="t", headline="", models=("m", "new"), sets=("s",), scores=scores(*numbers),
        changes=GapChanges.create_empty() if changed is None else changed,
    )  # fmt: skip
    return " ".join(finding.text for finding in find_verdict(report))


CONSISTENT = ("rank-consistency", "*", "*", 0.6, 0.01)
PAIRS = (("rank-consistency", "de", "en", 0.7, 0.02), ("rank-consistency", "ar", "en", 0.4, 0.02))


def test_a_language_lies_behind_only_if_its_whole_interval_does():
    sure = verdict(CONSISTENT, *PAIRS, ("rank-consistency", "ar", "*", 0.45, 0.02))
    assert "Surely behind the others: Arabic (ar) (0.450)" in sure
    chance = verdict(CONSISTENT, *PAIRS, ("rank-consistency", "ar", "*", 0.58, 0.05))
    assert "No language surely lies behind" in chance
    assert "least ar–en (0.400), most de–en (0.700)" in chance


def test_neighbours_are_by_language_from_twice_the_odds_of_chance_on():
    chance = ("purity-by-chance", "*", "*", 0.1, 0.0)
    assert "lie together by language." in verdict(("purity", "*", "*", 0.5, 0.01), chance)
    assert "hardly lie together" in verdict(("purity", "*", "*", 0.15, 0.01), chance)
    assert "is not sure" in verdict(("purity", "*", "*", 0.15, 0.05), chance)


def test_of_two_languages_nine_in_ten_neighbours_are_by_language():
    chance = ("purity-by-chance", "*", "*", 0.49, 0.0)
    assert "Texts lie together by language." in verdict(("purity", "*", "*", 0.9, 0.02), chance)
    assert "hardly lie together" in verdict(("purity", "*", "*", 0.55, 0.02), chance)


def test_what_is_mostly_lost_is_not_called_good():
    rows = scores(("xsim", "*", "*", 0.9, 0.02), ("xsim", "ar", "en", 0.9, 0.02), CONSISTENT,
                  PAIRS[0])  # fmt: skip
    report = GapReport(title="t", headline="", models=("m",), sets=("s",), scores=rows)
    mining = next(each for each in find_verdict(report) if "translations" in each.text)
    assert mining.good is False
    assert "does not know both languages" in mining.text
    order = next(each for each in find_verdict(report) if "order the same texts" in each.text)
    assert order.good is None
    assert "least" not in order.text  # of one pair there is no least


def test_similarity_and_its_changes_are_said_without_a_mean():
    changed = changes(("sts", "en", "ar", 0.2, 0.05), ("sts", "es", "es", -0.1, 0.05))
    said = verdict(("sts", "en", "ar", 0.5, 0.1), ("sts", "es", "es", 0.8, 0.1), changed=changed)
    assert "least in en–ar (0.500), most in es (0.800), of 2 directions" in said
    assert "similarity (STS) by direction: surely better in 1 of 2 (most en–ar" in said
    assert "surely worse in 1 (most es (−0.100))" in said


def test_a_change_names_who_gains_and_who_pays():
    changed = changes(
        ("xsim", "*", "*", -0.05, 0.01), ("xsim", "ar", "en", -0.2, 0.05),
        ("xsim", "de", "en", 0.1, 0.05), ("xsim", "fr", "en", 0.01, 0.05),
    )  # fmt: skip
    said = verdict(CONSISTENT, *PAIRS, changed=changed)
    assert "surely better in 1 of 3 (most ar–en (−0.200)), surely worse in 1 (most de–en" in said


def test_a_mix_that_costs_nothing_is_said_so():
    pool = (("preference", "*", "*", 0.9, 0.01), ("mix-cost", "ru", "ru", 0.02, 0.01))
    dear = verdict(("mix-cost", "*", "*", 0.2, 0.01), *pool)
    assert "the mix costs 0.200 of nDCG, most for questions in Russian (ru) (0.020)" in dear
    free = verdict(("mix-cost", "*", "*", -0.03, 0.01), *pool)
    assert "the mix costs no nDCG (−0.030)." in free


def test_the_headline_holds_the_models_side_by_side():
    report = GapReport(
        title="t", headline="", models=("m",), sets=("s",), scores=scores(CONSISTENT)
    )
    assert write_headline(report) == "On s, rank consistency between languages is 0.600 with m"
    nothing = report.model_copy(update={"scores": GapScores.create_empty()})
    pooled = report.model_copy(
        update={"scores": scores(CONSISTENT, ("mix-cost", "*", "*", 0.218, 0.01))}
    )
    assert write_headline(pooled) == (
        "On s, searching all languages together instead of each alone costs 0.218 nDCG with m"
    )
    assert write_headline(nothing) == "Nothing could be compared between languages"


def test_every_measure_is_named_and_has_a_direction():
    assert all(m.title and m.about for m in MEASURES.values())
    assert {m.better for m in MEASURES.values()} == {"high", "low", "neither"}

"""Texts that are no translations, too few, or in another script: said, and in no mean."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.gap import GapFlags
from polymine.evaluation.gap.cases import make_cases
from polymine.evaluation.gap.parallel import Parallel, flag_pairs, gather
from polymine.evaluation.gap.scores import Averages
from polymine.evaluation.gap.scripts import in_other_script
from polymine.evaluation.significance import Resampling
from tests.evaluation.gap.small_gap import parallel, sentences

HOW = Resampling(resamples=200)


def named(texts: pl.DataFrame) -> pl.DataFrame:
    return texts.select(group="group_id", language="language", text="text")


class TestGathering:
    def test_one_language_alone_is_refused_with_what_there_is(self):
        with pytest.raises(
            InputError, match=r"own: no two languages .* \(texts: en 12\).*group_id"
        ):
            gather(named(sentences(languages=("en",))), "own")

    def test_two_languages_that_share_nothing_are_refused(self):
        texts = named(sentences()).with_columns(group=pl.col("group") + pl.col("language"))
        with pytest.raises(InputError, match="no two languages have a text in common"):
            gather(texts, "own")

    def test_texts_in_another_script_are_set_aside_and_counted(self):
        texts = named(sentences()).with_columns(
            text=pl.when(pl.col("language") == "ru", pl.col("group") < "003")
            .then(pl.lit("this is English")).otherwise("text")
        )  # fmt: skip
        found, flags = gather(texts, "own")
        row = flags.filter(kind="script").row(0, named=True)
        assert (row["language_a"], row["count"], row["example"]) == ("ru", 3, "this is English")
        assert found.texts.filter(language="ru").height == 9

    def test_a_language_in_a_wrong_script_throughout_leaves_none(self):
        texts = named(sentences(languages=("en", "ru"))).with_columns(text=pl.lit("plain English"))
        with pytest.raises(InputError, match="12 texts are in another script"):
            gather(texts, "own")

    def test_further_texts_of_a_group_in_one_language_are_set_aside(self):
        more = pl.DataFrame({"group": ["000"], "language": ["en"], "text": ["zebras graze here"]})
        found, flags = gather(pl.concat([named(sentences()), more]), "own")
        assert found.texts.height == 36
        assert flags.filter(kind="extra")["count"].to_list() == [1]

    def test_a_language_that_shares_nothing_is_set_aside_and_counted(self):
        texts = named(sentences())
        lonely = texts.with_columns(
            group=pl.when(pl.col("language") == "ru").then(pl.col("group") + "-ru")
            .otherwise("group")
        )  # fmt: skip
        found, flags = gather(lonely, "own")
        assert found.languages == ("de", "en")
        row = flags.filter(kind="alone").row(0, named=True)
        assert (row["language_a"], row["count"]) == ("ru", 12)


class TestScripts:
    @pytest.mark.parametrize(
        ("language", "text", "strange"),
        [
            ("ru", "Привет, world of tanks", False), ("ru", "Hello, dear world", True),
            ("en", "Hello, dear world", False), ("en", "Всем привет", True),
            ("ja", "カタカナとひらがな", False), ("ja", "漢字のみ文字列例", False),
            ("zh", "这是一个句子", False), ("ko", "안녕하세요", False),
            ("ar", "مرحبا بالعالم", False),
            ("fa", "سلام دنیا", False), ("hi", "नमस्ते दुनिया", False), ("ru", "DNA", False),
            ("zz-not-a-code", "anything goes", False), ("sr", "Здраво свете", False),
        ],
    )  # fmt: skip
    def test_what_is_another_script(self, language, text, strange):
        table = pl.DataFrame({"language": [language], "text": [text]})
        assert in_other_script(table).to_list() == [strange]


class TestPairs:
    def test_groups_that_are_no_translations_are_told_by_their_lengths(self):
        whole = parallel(70)
        assert flag_pairs(whole, 10).is_empty()
        russian = pl.col("language") == "ru"
        shuffled = whole.texts.filter(russian)["text"].sample(fraction=1, shuffle=True, seed=1)
        mixed = pl.concat([
            whole.texts.filter(~russian),
            whole.texts.filter(russian).with_columns(text=shuffled),
        ]).sort("group", "language")  # fmt: skip
        flags = flag_pairs(Parallel(mixed), 10)
        pairs = flags.filter(kind="unrelated").select("language_a", "language_b").rows()
        assert pairs == [("de", "ru"), ("en", "ru")]

    @pytest.mark.parametrize(("count", "caught"), [(12, 0.65), (20, 0.75), (40, 0.9)])
    def test_a_few_shuffled_texts_are_told_as_well(self, count, caught):
        """Texts without any pattern in their lengths, which translation stretches by a fifth."""
        rng, hits, alarms = np.random.default_rng(0), 0, 0
        for _ in range(40):
            size = rng.lognormal(4, 0.5, count)
            lengths = {"de": size, "en": size * rng.lognormal(0, 0.2, count)}
            for shuffled in (False, True):
                if shuffled:
                    rng.shuffle(lengths["en"])
                rows = [(f"{at:03}", code, "x" * (1 + int(each[at])))
                        for code, each in lengths.items() for at in range(count)]  # fmt: skip
                table = pl.DataFrame(rows, ["group", "language", "text"], orient="row")
                found = flag_pairs(Parallel(table.sort("group", "language")), 10).height
                hits, alarms = hits + found * shuffled, alarms + found * (not shuffled)
        assert alarms == 0
        assert hits >= caught * 40

    def test_a_pair_with_nothing_in_common_is_named(self):
        texts = parallel(12).texts.filter(
            ~((pl.col("language") == "ru") & (pl.col("group") > "005")),
            ~((pl.col("language") == "de") & (pl.col("group") < "006")),
        )
        flags = flag_pairs(Parallel(texts), 3)
        assert flags.select("kind", "language_a", "language_b", "count").rows() == [
            ("few", "de", "ru", 0)
        ]

    def test_a_pair_with_few_texts_is_named(self):
        texts = parallel(12).texts.filter(
            ~((pl.col("language") == "ru") & (pl.col("group") > "007"))
        )
        flags = flag_pairs(Parallel(texts), 10)
        assert flags.select("kind", "language_b", "count").rows() == [("few", "ru", 8)] * 2

    def test_the_same_groups_are_drawn_in_every_language(self):
        whole = parallel(30)
        drawn = whole.draw(10, seed=1)
        assert len(drawn.groups) == 10
        assert drawn.texts.height == 30
        assert set(drawn.groups) != set(whole.draw(10, seed=2).groups)
        sparse = Parallel(
            whole.texts.filter(~((pl.col("language") == "ru") & (pl.col("group") > "004")))
        )
        assert sparse.widest(5, seed=0).texts.height == 15


class TestScores:
    def cases(self) -> pl.DataFrame:
        groups = pl.Series([f"{at}" for at in range(20)])
        level = {("de", "en"): 0.9, ("de", "ru"): 0.5, ("en", "ru"): 0.1}
        rng = np.random.default_rng(0)
        parts = [
            make_cases("m", a, b, groups, value + 0.01 * rng.normal(size=20))
            for (a, b), value in level.items()
        ]
        return pl.concat(parts)

    def averages(self, flags: pl.DataFrame | None = None) -> Averages:
        return Averages("s", flag_pairs(parallel(), 3) if flags is None else flags, 10, HOW)

    def value(self, scores: pl.DataFrame, a: str, b: str) -> float:
        return scores.filter(language_a=a, language_b=b)["value"].item()

    def test_means_are_over_pairs_and_their_intervals_hold_them(self):
        scores = self.averages().scores(self.cases(), "model")
        assert self.value(scores, "*", "*") == pytest.approx(0.5, abs=0.01)
        assert self.value(scores, "de", "*") == pytest.approx(0.7, abs=0.01)
        assert self.value(scores, "ru", "*") == pytest.approx(0.3, abs=0.01)
        assert (scores["low"] <= scores["value"]).all()
        assert (scores["high"] >= scores["value"]).all()

    def test_questions_on_one_passage_are_one_proof(self):
        """The interval is that of the passages' means, by Student's t."""
        rng = np.random.default_rng(0)
        value = np.repeat(rng.normal(0.5, 0.1, 20), 5) + rng.normal(0, 0.02, 100)
        cases = make_cases("m", "de", "de", pl.Series([f"q{n:02}" for n in range(100)]), value)
        clusters = cases.select("case", cluster=pl.Series([f"p{n // 5}" for n in range(100)]))
        none, many = GapFlags.create_empty(), Resampling(resamples=20_000)
        averages = Averages("s", none, 10, many, clusters)
        row = averages.scores(cases, "model").filter(language_a="de").row(0, named=True)
        means = value.reshape(20, 5).mean(1)
        wanted = t.interval(0.95, 19, means.mean(), means.std(ddof=1) / np.sqrt(20))
        assert row["count"] == 100
        assert (row["low"], row["high"]) == pytest.approx(wanted, abs=0.004)

    def test_a_flagged_pair_is_shown_and_in_no_mean(self):
        flags = pl.DataFrame({"kind": ["unrelated"], "language_a": ["en"], "language_b": ["ru"],
                              "count": [20], "example": ["x / y"]})  # fmt: skip
        scores = self.averages(flags).scores(self.cases(), "model")
        assert self.value(scores, "*", "*") == pytest.approx(0.7, abs=0.01)
        assert scores.filter(language_a="en", language_b="ru")["flagged"].item()
        few = self.cases().filter(
            (pl.col("language_a") != "en") | (pl.col("case").cast(pl.Int64) < 5)
        )
        assert self.value(self.averages().scores(few, "model"), "*", "*") > 0.69

    def test_a_persons_and_a_machines_translation_are_no_pair_of_languages(self):
        groups = pl.Series([f"{at}" for at in range(10)])
        level = {("de", "de-x-mt"): 1.0, ("de", "en"): 0.4, ("de-x-mt", "en"): 0.2}
        parts = [make_cases("m", a, b, groups, np.full(10, v)) for (a, b), v in level.items()]
        scores = self.averages().scores(pl.concat(parts), "model")
        assert self.value(scores, "*", "*") == pytest.approx(0.3)
        assert self.value(scores, "de", "*") == pytest.approx(0.4)
        assert self.value(scores, "de", "de-x-mt") == pytest.approx(1.0)  # shown all the same

    def test_directions_have_a_mean_on_each_side(self):
        groups = pl.Series([f"{at}" for at in range(10)])
        level = {("de", "en"): 0.2, ("en", "de"): 0.4, ("de", "de"): 1.0}
        parts = [make_cases("m", a, b, groups, np.full(10, v)) for (a, b), v in level.items()]
        scores = self.averages().scores(pl.concat(parts), "model")
        assert self.value(scores, "de", "*") == pytest.approx(0.2)  # what is found, without its own
        assert self.value(scores, "*", "de") == pytest.approx(0.4)
        assert self.value(scores, "*", "*") == pytest.approx(0.3)

    def test_changes_are_on_the_same_cases(self):
        before = self.cases()
        after = before.filter(pl.col("case") != "3").with_columns(pl.col("value") + 0.05)
        changes = self.averages().changes(after, before, ("new", "old"))
        assert changes["change"].to_numpy() == pytest.approx(0.05)
        assert changes.filter(language_a="de", language_b="en")["count"].item() == 19

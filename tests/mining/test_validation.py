"""The validator: verdicts at their boundaries, waves that ask no more than needed, and its bits."""

import copy
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import ValidationSettings
from polymine.data_contracts.tables import Verdicts
from polymine.mining.validation import PairScorer, validate
from tests.small import animal_tables, small_validator


class Book:
    """Logits by pair; remembers what was asked and for what."""

    def __init__(self, logits):
        self.logits, self.asked, self.purposes = logits, [], []

    def __call__(self, pairs, purpose):
        rows = pairs.select("query_id", "doc_id").rows()
        self.asked += rows
        self.purposes.append((purpose, len(rows)))
        return np.array([self.logits[row] for row in rows], dtype=np.float32)


def survivors(*rows):
    return pl.DataFrame(
        rows, {"query_id": pl.String, "doc_id": pl.String, "order": pl.UInt32}, orient="row"
    )


def positives(*rows):
    return pl.DataFrame(rows, {"query_id": pl.String, "doc_id": pl.String}, orient="row")


def settings(**values):
    return ValidationSettings(model="some/validator", **values)


def verdicts(frame):
    return {row["doc_id"]: row["verdict"] for row in frame.iter_rows(named=True)}


class TestVerdicts:
    def decide(self, logits, known=(4.0,), **values):
        """Verdicts on documents named by their logits."""
        book = Book({("q", f"{logit}"): logit for logit in (*logits, *known)})
        rows = [("q", f"{logit}", place) for place, logit in enumerate(logits, start=1)]
        pairs = positives(*(("q", f"{logit}") for logit in known))
        frame = validate(survivors(*rows), pairs, len(rows), settings(**values), book)
        return [verdicts(frame)[f"{logit}"] for logit in logits]

    # 4 - 0.5 = 3.5 promotes, 4 - 0.5 - 1 = 2.5 excludes; all exact in binary
    def test_boundaries_belong_to_the_more_relevant_side(self):
        assert self.decide([2.25, 2.5, 3.25, 3.5, 9.0], margin=0.5, grey_zone=1.0) == [
            "negative", "excluded", "excluded", "promoted", "promoted",
        ]  # fmt: skip

    def test_without_a_grey_zone_nothing_is_excluded(self):
        assert self.decide([3.5, 3.999, 4.0], grey_zone=0.0) == [
            "negative", "negative", "promoted",
        ]  # fmt: skip

    def test_negative_margin_promotes_only_what_beats_the_positive(self):
        assert self.decide([3.75, 4.0, 4.5, 5.0], margin=-1.0, grey_zone=1.0) == [
            "negative", "excluded", "excluded", "promoted",
        ]  # fmt: skip

    def test_several_positives_stay_below_the_lowest_promote_from_the_highest(self):
        # known 1 and 4: negative below 1 - 1, promoted from 4
        assert self.decide([-0.5, 0.0, 1.0, 3.5, 4.0], known=(4.0, 1.0)) == [
            "negative", "excluded", "excluded", "excluded", "promoted",
        ]  # fmt: skip

    def test_reasons_say_where_a_logit_lies(self):
        book = Book({("q", "p"): 4.0, ("q", "a"): 0.0, ("q", "b"): 3.5, ("q", "c"): 4.5})
        rows = survivors(("q", "a", 1), ("q", "b", 2), ("q", "c", 3))
        frame = validate(rows, positives(("q", "p")), 3, settings(), book)
        assert frame["validator_score"].to_list() == [0.0, 3.5, 4.5]
        assert frame["reason"].to_list() == [
            "validator: below the grey zone",
            "validator: in the grey zone",
            "validator: as relevant as the known positive",
        ]
        Verdicts.validate(frame, cast=True)


class TestWaves:
    def test_each_query_is_asked_until_it_has_its_negatives(self):
        logits = {("q", "pos"): 5.0, ("r", "pos"): 0.0}
        logits |= {("q", "a"): 0.0, ("q", "b"): 4.5, ("q", "c"): 6.0, ("q", "d"): 3.0}
        logits |= {("q", "e"): 0.0, ("r", "a"): -9.0, ("r", "b"): -9.0, ("r", "c"): -9.0}
        book = Book(logits)
        rows = survivors(
            ("q", "a", 1), ("q", "b", 2), ("q", "c", 3), ("q", "d", 4), ("q", "e", 5),
            ("r", "a", 3), ("r", "b", 1), ("r", "c", 2),
        )  # fmt: skip
        frame = validate(rows, positives(("q", "pos"), ("r", "pos")), 2, settings(), book)
        # r has its two at once, in its own order; q needs one more after a, then after c
        assert book.purposes == [
            ("known positives", 2), ("wave 1", 4), ("wave 2", 1), ("wave 3", 1),
        ]  # fmt: skip
        assert set(frame.select("query_id", "doc_id").rows()) == {
            ("q", "a"), ("q", "b"), ("q", "c"), ("q", "d"), ("r", "b"), ("r", "c"),
        }  # fmt: skip
        assert ("q", "e") not in book.asked
        assert ("r", "a") not in book.asked

    def test_query_that_runs_out_of_candidates_ends(self):
        book = Book({("q", "pos"): 0.0, ("q", "a"): 1.0, ("q", "b"): -5.0})
        rows = survivors(("q", "a", 1), ("q", "b", 2))
        frame = validate(rows, positives(("q", "pos")), 7, settings(), book)
        assert verdicts(frame) == {"a": "promoted", "b": "negative"}
        assert len(book.asked) == 3

    def test_no_survivors(self):
        frame = validate(survivors(), positives(), 3, settings(), Book({}))
        assert len(frame) == 0
        Verdicts.validate(frame, cast=True)

    @given(st.data())
    def test_asks_exactly_what_taking_one_after_the_other_would(self, data):
        wanted = data.draw(st.integers(1, 4))
        logit = st.integers(-4, 4).map(float)
        logits, rows, known = {}, [], []
        for query in data.draw(st.sets(st.sampled_from("qrst"))):
            for number, value in enumerate(data.draw(st.lists(logit, min_size=1, max_size=2))):
                known.append((query, f"pos{number}"))
                logits[known[-1]] = value
            for order, value in enumerate(data.draw(st.lists(logit, max_size=9)), start=1):
                rows.append((query, f"doc{order}", order))
                logits[rows[-1][:2]] = value
        book = Book(logits)
        table = survivors(*data.draw(st.permutations(rows)))
        frame = validate(table, positives(*known), wanted, settings(), book)
        assert max(Counter(book.asked).values(), default=1) == 1
        expected = {}
        for query, doc, _ in sorted(rows, key=lambda row: (row[0], row[2])):
            done = [pair for pair, said in expected.items() if pair[0] == query and said]
            if len(done) < wanted:
                lowest = min(logits[pair] for pair in known if pair[0] == query)
                expected[query, doc] = logits[query, doc] < lowest - 1.0
        assert set(book.asked) == expected.keys() | set(known)
        said = {row[:2]: row[3] == "negative" for row in frame.iter_rows()}
        assert said == expected


@pytest.fixture(scope="module")
def pairs():
    documents, queries, _ = animal_tables()
    texts = documents["text"].to_list()
    asked = queries["text"].to_list()
    made = [(asked[n % 36], texts[(n * 7) % 72] * (1 + n % 2)) for n in range(44)]
    return [*made, ("one", "word " * 400), ("où?", "東京タワー"), ("?", "!")]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request):
    """A cross-encoder whose head is linear layers, as of most: its products have a row per pair."""
    return models.load_cross_encoder(small_validator().model, device="cpu", dtype=request.param)


@pytest.fixture(scope="module")
def logits(model, pairs):
    return PairScorer([model], 2, 2048).score(pairs)


class TestPairScorer:
    def test_logits_are_those_of_sentence_transformers(self, model, pairs, logits):
        expected = model.predict(pairs, show_progress_bar=False)
        assert logits.dtype == np.float32
        coarse = str(model.dtype).endswith("bfloat16")  # eight bits a number
        np.testing.assert_allclose(logits, expected, atol=0.05 if coarse else 1e-5)

    @pytest.mark.parametrize(("threads", "budget"), [(1, 2048), (2, 64), (3, 100_000)])
    def test_same_bits_on_other_threads_and_budgets(self, model, pairs, logits, threads, budget):
        assert np.array_equal(PairScorer([model], threads, budget).score(pairs), logits)

    def test_same_bits_in_other_company(self, model, pairs, logits):
        scorer = PairScorer([model], 1, 2048)
        alone = [scorer.score([pair])[0] for pair in pairs[::4]]
        assert np.array_equal(alone, logits[::4])
        for size in (2, 5, 17, 31):
            assert np.array_equal(scorer.score(pairs[:size]), logits[:size])
        rows = np.random.default_rng(0).permutation(len(pairs))[:20]
        assert np.array_equal(scorer.score([pairs[row] for row in rows]), logits[rows])

    def test_loads_what_the_settings_name_and_cuts_at_their_length(self, pairs):
        short = PairScorer.load(
            small_validator().model_copy(update={"max_length": 24}), threads=1, batch_tokens=512
        )
        long, longer = ("one", "word " * 100), ("one", "word " * 200)
        first, second = short.score([long, longer])
        assert first == second

    def test_logit_that_is_not_finite_is_an_error_with_the_pair(self):
        broken = copy.deepcopy(
            models.load_cross_encoder(small_validator().model, device="cpu", dtype="float32")
        )
        for parameter in broken.parameters():
            parameter.data.fill_(float("nan"))
        with pytest.raises(ModelError, match=r"not finite.*'a question', 'an answer'"):
            PairScorer([broken], 1, 2048).score([("a question", "an answer")])

"""The master, the product, the views and the shortfalls: by eye and as invariants."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.settings import SelectionSettings, ValidationSettings
from polymine.data_contracts.tables import Negatives, Promoted, Shortfalls, Triplets
from polymine.mining.export import (
    LOWEST_WEIGHT,
    build_negatives,
    build_promoted,
    build_triplets,
    build_view,
    find_shortfalls,
)
from polymine.mining.selection import apply_rule, compute_ceilings, order_survivors
from polymine.mining.validation import validate

WANTED = 2
QUERIES = pl.DataFrame(
    [("q", "fruit?", "en"), ("r", "légume ?", "fr"), ("s", "never asked", "en")],
    ["query_id", "text", "language"],
    orient="row",
)
DOCUMENTS = pl.DataFrame(
    [("a", "apple", "en"), ("b", "beet", "en"), ("c", "chou", "fr"), ("d", "dill", "en"),
     ("p", "pear", "en")],
    ["doc_id", "text", "language"], orient="row",
)  # fmt: skip
POSITIVES = pl.DataFrame(
    [("q", "a", 0.75), ("q", "p", 0.5), ("r", "c", 0.25)],
    {"query_id": pl.String, "doc_id": pl.String, "score": pl.Float32},
    orient="row",
)


def decided(*rows):
    types = {
        "query_id": pl.String, "doc_id": pl.String, "score": pl.Float32,
        "positive_score": pl.Float32, "reason": pl.String,
    }  # fmt: skip
    return unrisked(pl.DataFrame(rows, types, orient="row"))


def unrisked(frame):
    """Nobody assessed the risk and no validator looked, as under the rules with a ceiling."""
    return frame.with_columns(
        risk=pl.lit(None, pl.Float32), validator_score=pl.lit(None, pl.Float32)
    )


DECIDED = decided(
    ("q", "a", 0.75, 0.5, "known positive: positive"),
    ("q", "p", 0.5, 0.5, "known positive: positive"),
    ("q", "c", 0.375, 0.5, None),
    ("q", "d", 0.25, 0.5, None),
    ("q", "b", 0.125, 0.5, None),
    ("r", "c", 0.25, 0.25, "known positive: positive"),
    ("r", "d", 0.25, 0.25, "margin: at or above the ceiling"),
    ("r", "a", 0.125, 0.25, None),
)
# q is taken in the order d, c, b: a draw, not by score
SURVIVORS = unrisked(
    pl.DataFrame(
        [("q", "d", 0.25, 0.5, 1), ("q", "c", 0.375, 0.5, 2), ("q", "b", 0.125, 0.5, 3),
         ("r", "a", 0.125, 0.25, 1)],
        {"query_id": pl.String, "doc_id": pl.String, "score": pl.Float32,
         "positive_score": pl.Float32, "order": pl.UInt32},
        orient="row",
    )
)  # fmt: skip


def verdicts(*rows):
    types = {
        "query_id": pl.String, "doc_id": pl.String, "validator_score": pl.Float32,
        "verdict": pl.String, "reason": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, types, orient="row")


VERDICTS = verdicts(
    ("q", "d", -3.0, "negative", "validator: below the grey zone"),
    ("q", "c", 2.0, "promoted", "validator: as relevant as the known positive"),
    ("q", "b", -4.0, "negative", "validator: below the grey zone"),
    ("r", "a", 0.5, "excluded", "validator: in the grey zone"),
)


def negatives(validated=None):
    return build_negatives(DECIDED, SURVIVORS, validated, WANTED)


def triplets(validated=None):
    return build_triplets(negatives(validated), POSITIVES, QUERIES, DOCUMENTS)


class TestNegatives:
    COLUMNS = ("query_id", "doc_id", "position", "verdict")

    def test_first_survivors_are_kept_without_a_validator(self):
        assert negatives().select(self.COLUMNS).rows() == [
            ("q", "d", 1, "negative"), ("q", "c", 2, "negative"), ("q", "a", None, "excluded"),
            ("q", "p", None, "excluded"), ("r", "a", 1, "negative"), ("r", "c", None, "excluded"),
            ("r", "d", None, "excluded"),
        ]  # fmt: skip

    def test_verdicts_leave_no_gap_in_the_positions(self):
        assert negatives(VERDICTS).select(self.COLUMNS).rows() == [
            ("q", "d", 1, "negative"), ("q", "b", 2, "negative"), ("q", "a", None, "excluded"),
            ("q", "c", None, "promoted"), ("q", "p", None, "excluded"),
            ("r", "a", None, "excluded"), ("r", "c", None, "excluded"),
            ("r", "d", None, "excluded"),
        ]  # fmt: skip

    def test_scores_and_reasons_are_kept(self):
        rows = {row["doc_id"]: row for row in negatives(VERDICTS).filter(query_id="q").to_dicts()}
        assert rows["c"]["validator_score"] == 2.0
        assert rows["c"]["reason"] == "validator: as relevant as the known positive"
        assert (rows["d"]["score"], rows["d"]["positive_score"]) == (0.25, 0.5)
        assert rows["a"]["validator_score"] is None
        assert rows["a"]["reason"] == "known positive: positive"

    @pytest.mark.parametrize("validated", [None, VERDICTS])
    def test_contracts(self, validated):
        Negatives.validate(negatives(validated), cast=True)
        Triplets.validate(triplets(validated), cast=True)


class TestTriplets:
    def test_every_positive_meets_every_negative(self):
        columns = ("query_id", "positive_id", "negative_id", "position")
        assert triplets().select(columns).rows() == [
            ("q", "a", "d", 1), ("q", "a", "c", 2), ("q", "p", "d", 1), ("q", "p", "c", 2),
            ("r", "c", "a", 1),
        ]  # fmt: skip

    def test_texts_languages_and_scores_belong_to_their_ids(self):
        row = triplets().row(3, named=True)
        assert row == {
            "query_id": "q", "positive_id": "p", "negative_id": "c", "position": 2,
            "anchor": "fruit?", "positive": "pear", "negative": "chou",
            "anchor_language": "en", "positive_language": "en", "negative_language": "fr",
            "positive_score": 0.5, "negative_score": 0.375, "weight": 1.0,
            "positive_weight": 1.0,
        }  # fmt: skip


class TestRisk:
    """With risks: e was promoted, b is the riskier negative."""

    LISTED = pl.DataFrame({"query_id": ["q"], "doc_id": ["e"], "precision": [0.75]})
    RISKS = {"a": 0.9, "p": 0.9, "c": 0.25, "d": 0.125, "b": 0.0, "e": 0.95}

    def assessed(self, frame):
        risk = pl.col("doc_id").replace_strict(self.RISKS, return_dtype=pl.Float32)
        return frame.with_columns(risk=risk)

    def master(self):
        reason = "promoted: risk and validator agree"
        promoted = decided(("q", "e", 0.4375, 0.5, reason)).with_columns(
            validator_score=pl.lit(3.0, pl.Float32)
        )
        everything = self.assessed(pl.concat([DECIDED.filter(query_id="q"), promoted]))
        survivors = self.assessed(SURVIVORS.filter(query_id="q"))
        return build_negatives(everything, survivors, None, WANTED)

    def product(self, **values):
        documents = pl.concat([DOCUMENTS, DOCUMENTS.head(1).with_columns(doc_id=pl.lit("e"))])
        return build_triplets(
            self.master(), POSITIVES, QUERIES, documents,
            build_promoted(self.master(), self.LISTED), **values,
        )  # fmt: skip

    def test_of_many_positives_chance_draws_so_many_and_known_ones_first(self):
        known = pl.concat([POSITIVES, POSITIVES.with_columns(doc_id=pl.col("doc_id") + "2")])
        documents = pl.concat([DOCUMENTS, DOCUMENTS.with_columns(doc_id=pl.col("doc_id") + "2")])
        documents = pl.concat([documents, DOCUMENTS.head(1).with_columns(doc_id=pl.lit("e"))])
        listed = build_promoted(self.master(), self.LISTED)

        def drawn(**values):
            product = build_triplets(self.master(), known, QUERIES, documents, listed, **values)
            return set(product.filter(query_id="q")["positive_id"])

        marked = set(known.filter(query_id="q")["doc_id"])
        assert drawn() == marked | {"e"}
        assert drawn(most=len(marked)) == marked
        ones = {frozenset(drawn(most=1, seed=seed)) for seed in range(20)}
        assert ones == {frozenset({each}) for each in marked}

    def test_promoted_candidates_have_a_verdict_and_a_table(self):
        assert self.master().filter(verdict="promoted")["doc_id"].to_list() == ["e"]
        table = build_promoted(self.master(), self.LISTED)
        Promoted.validate(table, cast=True)
        row = table.row(0, named=True)
        assert (row["doc_id"], row["score"], row["validator_score"]) == ("e", 0.4375, 3.0)
        assert row["weight"] == 0.75

    def test_a_promoted_candidate_stands_as_a_positive_and_never_as_a_negative(self):
        product = self.product(weighted=True)
        Triplets.validate(product, cast=True)
        assert product.select("positive_id", "negative_id").rows() == [
            ("a", "d"), ("a", "c"), ("e", "d"), ("e", "c"), ("p", "d"), ("p", "c"),
        ]  # fmt: skip
        assert product.filter(positive_id="e")["positive_score"].unique().to_list() == [0.4375]

    def test_weights_are_the_probabilities_that_each_side_is_right(self):
        product = self.product(weighted=True)
        weights = {row[1:3]: row[-2] for row in product.rows()}
        # d is wrong with 1/8, c with 1/4; e was calibrated to .75
        assert weights["a", "d"] == 0.875
        assert weights["p", "c"] == 0.75
        assert weights["e", "d"] == 0.875
        of_rows = product.group_by("positive_id").agg(pl.col("positive_weight").unique())
        assert dict(of_rows.explode("positive_weight").rows()) == pytest.approx(
            {"a": 1.0, "p": 1.0, "e": 0.75}
        )
        assert set(self.product()["weight"]) == {1.0}

    def test_the_lowest_weight_is_not_nought(self):
        certain = self.master().with_columns(risk=pl.lit(1.0, pl.Float32))
        product = build_triplets(certain, POSITIVES, QUERIES, DOCUMENTS, weighted=True)
        assert product["weight"].to_list() == pytest.approx([LOWEST_WEIGHT] * len(product))


class TestViews:
    def test_triplet(self):
        assert build_view(triplets(), "triplet", WANTED).rows()[3:] == [
            ("fruit?", "pear", "chou"), ("légume ?", "chou", "apple"),
        ]  # fmt: skip

    def test_n_tuple_holds_full_rows_with_raw_scores(self):
        view = build_view(triplets(), "n-tuple", WANTED)
        assert view.columns == ["anchor", "positive", "negative_1", "negative_2", "scores"]
        assert view.rows() == [
            ("fruit?", "apple", "dill", "chou", [0.75, 0.25, 0.375]),
            ("fruit?", "pear", "dill", "chou", [0.5, 0.25, 0.375]),
        ]

    def test_labeled_pair_names_each_document_once_per_query(self):
        assert build_view(triplets(), "labeled-pair", WANTED).rows() == [
            ("fruit?", "apple", 1), ("fruit?", "pear", 1), ("légume ?", "chou", 1),
            ("fruit?", "dill", 0), ("fruit?", "chou", 0), ("légume ?", "apple", 0),
        ]  # fmt: skip

    def test_labeled_list_puts_the_positive_first(self):
        assert build_view(triplets(), "labeled-list", WANTED).rows() == [
            ("fruit?", ["apple", "dill", "chou"], [1, 0, 0]),
            ("fruit?", ["pear", "dill", "chou"], [1, 0, 0]),
            ("légume ?", ["chou", "apple"], [1, 0]),
        ]

    @pytest.mark.parametrize("view", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
    def test_no_view_has_ids_and_an_empty_one_keeps_its_columns(self, view):
        full = build_view(triplets(), view, WANTED)
        empty = build_view(triplets().clear(), view, WANTED)
        assert not [name for name in full.columns if name.endswith("_id")]
        assert empty.schema == full.schema
        assert len(empty) == 0


class TestShortfalls:
    def find(self, validated=None, wanted=WANTED, survivors=SURVIVORS, known=POSITIVES):
        frame = build_negatives(DECIDED, survivors, validated, wanted)
        return find_shortfalls(QUERIES, known, survivors, frame, wanted)

    def test_every_reason(self):
        # c of r's candidates passes the rule, but is one too few; s has no positive at all
        assert self.find().rows() == [
            ("r", 2, 1, "only 1 documents of the corpus pass the rule"),
            ("s", 2, 0, "no known positive"),
        ]
        assert self.find(VERDICTS).rows() == [
            ("r", 2, 0, "validator turned down 1 of 1 candidates"),
            ("s", 2, 0, "no known positive"),
        ]
        assert self.find(VERDICTS, wanted=3).rows()[0] == (
            "q", 3, 2, "validator turned down 1 of 3 candidates",
        )  # fmt: skip
        Shortfalls.validate(self.find(VERDICTS), cast=True)

    def test_query_all_of_whose_pairs_are_doubtful(self):
        frame = build_negatives(DECIDED, SURVIVORS, None, WANTED)
        doubted = POSITIVES.filter(query_id="q")
        found = find_shortfalls(QUERIES, POSITIVES, SURVIVORS, frame, WANTED, left_out=doubted)
        told = ("q", WANTED, 0, "all its known pairs are doubtful and left out")
        assert found.rows() == [told, *self.find().rows()]

    def test_query_whose_candidates_are_all_refused(self):
        none = SURVIVORS.filter(query_id="q")
        assert self.find(survivors=none).rows()[0] == (
            "r", 2, 0, "only 0 documents of the corpus pass the rule",
        )  # fmt: skip

    def test_nothing_is_short_when_one_is_enough(self):
        known = pl.concat([POSITIVES, POSITIVES.head(1).with_columns(query_id=pl.lit("s"))])
        assert self.find(wanted=1, known=known)["query_id"].to_list() == ["s"]


def eighths(low, high):
    return st.integers(low, high).map(lambda number: number / 8)


@st.composite
def decisions(draw):
    """Random evidence on some queries, a rule, and logits of a validator or none."""
    queries, docs = ["q", "r", "s", "t"], list("abcdefgh")
    rows = [
        (query, doc, draw(eighths(-8, 8)), draw(st.sampled_from([None, None, "copy"])))
        for query in queries
        for doc in draw(st.sets(st.sampled_from(docs)))
    ]
    types = {
        "query_id": pl.String, "doc_id": pl.String, "score_t": pl.Float32, "closed": pl.String,
    }  # fmt: skip
    known = [
        (query, f"pos{number}", draw(eighths(-8, 8)))
        for query in draw(st.sets(st.sampled_from(queries), min_size=1))
        for number in range(draw(st.integers(1, 2)))
    ]
    settings = SelectionSettings(
        rule=draw(st.sampled_from(["naive", "shifted", "margin", "percent"])),
        shift=1,
        sampling=draw(st.sampled_from(["top", "random"])),
    )
    logits = {(row[0], row[1]): draw(eighths(-40, 40)) for row in [*rows, *known]}
    gathered = unrisked(pl.DataFrame(rows, types, orient="row"))
    return gathered, known, settings, logits, draw(st.booleans())


@given(decisions(), st.integers(1, 4))
def test_what_is_kept_and_what_is_missing_make_what_was_wanted(drawn, wanted):
    evidence, known, settings, logits, with_validator = drawn
    types = {"query_id": pl.String, "doc_id": pl.String, "score": pl.Float32}
    positives = pl.DataFrame(known, types, orient="row")
    decided = apply_rule(evidence, compute_ceilings(positives, settings), "t", settings)
    survivors = order_survivors(decided, settings, 0).filter(pl.col("order") <= 4 * wanted)
    validated = None
    if with_validator:
        validated = validate(
            survivors, positives.join(survivors, on="query_id", how="semi"), wanted,
            ValidationSettings(model="any"),
            lambda pairs, _: pl.Series(
                [logits[row] for row in pairs.select("query_id", "doc_id").rows()],
                dtype=pl.Float32,
            ).to_numpy(),
        )  # fmt: skip
    ids = sorted({*evidence["doc_id"], *positives["doc_id"]})
    documents = pl.DataFrame({"doc_id": ids, "text": ids}).with_columns(language=pl.lit("en"))
    queries = pl.DataFrame({"query_id": list("qrst")}).with_columns(
        text=pl.lit("?"), language=pl.lit("en")
    )
    master = build_negatives(decided, survivors, validated, wanted)
    product = build_triplets(master, positives, queries, documents)
    short = find_shortfalls(queries, positives, survivors, master, wanted)
    Negatives.validate(master, cast=True)
    Triplets.validate(product, cast=True)
    Shortfalls.validate(short, cast=True)

    closed = set(
        evidence.filter(pl.col("closed").is_not_null()).select("query_id", "doc_id").rows()
    )
    missing = {row["query_id"]: row["wanted"] - row["found"] for row in short.to_dicts()}
    for query in "qrst":
        kept = master.filter(query_id=query, verdict="negative")
        assert kept["position"].to_list() == list(range(1, len(kept) + 1))
        assert len(kept) + missing.get(query, 0) == wanted
        assert not {(query, doc) for doc in kept["doc_id"]} & closed
        order = dict(survivors.filter(query_id=query).select("doc_id", "order").iter_rows())
        places = [order[doc] for doc in kept["doc_id"]]
        assert places == sorted(places)
        mine = product.filter(query_id=query)
        count = positives.filter(query_id=query).height
        assert len(mine) == len(kept) * count
        assert set(mine["negative_id"]) == set(kept["doc_id"] if count else [])
    assert product["positive_score"].is_finite().all()
    assert product["negative_score"].is_finite().all()

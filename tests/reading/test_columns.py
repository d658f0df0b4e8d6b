"""Columns by settings, name or place; labels and marks that are not what they seem."""

import polars as pl
import pytest

from polymine.data_contracts.notes import Understood
from polymine.data_contracts.settings import Reading
from polymine.mining.broken_rows import BROKEN
from polymine.reading.columns import Taken, take_columns
from polymine.reading.roles import CORPUS, JUDGMENTS, PAIRS, PARALLEL, Role
from polymine.reading.understood import Table


def take(role: Role = PAIRS, said: dict[str, object] | None = None, **columns: list) -> Taken:
    frame = pl.DataFrame(columns)
    table = Table(frame, pl.DataFrame(schema=BROKEN), Understood("f.csv", "CSV", frame.height))
    return take_columns(table, role, Reading.model_validate(said or {}))


class TestRoles:
    def test_an_index_and_numbers_are_no_text(self):
        taken = take(**{"": ["0", "1"], "length": ["5", "7"], "ask": ["a", "b"], "say": ["c", "d"]})
        assert taken.problems == ()
        assert dict(taken.understood.columns) == {"anchor": "ask", "positive": "say"}
        assert taken.understood.by_position == ("anchor", "positive")
        assert set(taken.understood.ignored) == {"", "length"}

    def test_several_that_would_do_are_asked_about(self):
        taken = take(question=["a"], first=["b"], second=["c"])
        assert "missing is positive, and `first`, `second` would do" in taken.problems[0]

    @pytest.mark.parametrize("name", ["distractor1", "incorrect", "wrong_answer", "neg_text"])
    def test_what_is_called_negative_is_never_a_positive(self, name):
        assert "missing is positive" in take(question=["a"], **{name: ["b"]}).problems[0]

    def test_the_settings_win(self):
        said = {"columns": {"query": "prompt", "positive": "chosen"}}
        taken = take(said=said, query=["no"], prompt=["a"], chosen=["b"], rejected=["c"])
        assert taken.rows.select("anchor", "positive", "negative").rows() == [("a", "b", ["c"])]

    def test_what_the_settings_say_is_not_there_is_not_read(self):
        said = {"columns": {"relevance": "", "negative": "", "query": "positive",
                            "positive": "anchor"}}  # fmt: skip
        taken = take(said=said, anchor=["a"], positive=["b"], negative=["c"], relevance=[0])
        assert taken.rows.to_dicts() == [{"positive": "a", "anchor": "b"}]
        assert taken.understood.ignored == ("negative", "relevance")
        judged = take(JUDGMENTS, {"columns": {"relevance": ""}}, query_id=["q"], doc_id=["d"],
                      relevance=[0])  # fmt: skip
        assert "relevance" not in judged.rows.columns

    def test_negatives_that_are_no_texts_are_said(self):
        taken = take(query=["a"], pos=["b"], negative_passages=[[{"text": "c"}]])
        assert "`negative_passages` is called as negatives are and holds" in taken.problems[0]
        said = {"columns": {"negative": ""}}
        assert take(said=said, query=["a"], pos=["b"], neg=[[1]]).problems == ()

    @pytest.mark.parametrize("name", ["label", "is_translation", "laser_score", "relatedness"])
    def test_scores_of_parallel_texts_go_by_their_names(self, name):
        table = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], name: [0, 1]}
        (problem,) = take(PARALLEL, **table).problems
        assert f'`[dataset.columns] score = "{name}"`, or say that it does not' in problem
        assert take(PARALLEL, {"columns": {"score": ""}}, **table).problems == ()
        scored = take(PARALLEL, {"columns": {"score": name}}, **table).rows
        assert scored["score"].to_list() == [0, 1]

    def test_easy_and_hard_negatives_are_all_read(self):
        taken = take(query=["a"], pos=["b"], hard_negatives=[["c"]], neg=["d"], neg_1=["e"])
        assert taken.rows["negative"].to_list() == [["d", "c", "e"]]

    def test_numbered_negatives_stand_in_their_order(self):
        taken = take(anchor=["a"], positive=["b"], negative_10=["z"], negative_2=["y"],
                     negative_1=["x"])  # fmt: skip
        assert taken.rows["negative"].to_list() == [["x", "y", "z"]]


class TestGrades:
    @pytest.mark.parametrize("labels", [[0, 1, 2], [-1, 0, 1], ["entailment", "neutral"]])
    def test_classes_are_asked_about(self, labels):
        taken = take(premise=["a"] * len(labels), hypothesis=["b"] * len(labels), label=labels)
        assert "`label` holds" in taken.problems[0]
        assert "`grades = [1]`" in taken.problems[0]

    @pytest.mark.parametrize(
        ("grades", "given", "relevance"),
        [([0], [0, 1, 2], [1, 0, 0]), (["yes"], ["yes", "no", None], [1, 0, None]),
         (0.7, [0.9, 0.6, 1.0], [1, 0, 1]), (0.7, ["0.9", "0.6", "x"], [1, 0, None])],
    )  # fmt: skip
    def test_the_settings_say_which_are_relevant(self, grades, given, relevance):
        taken = take(said={"grades": grades}, question=["a"] * 3, answer=["b"] * 3, label=given)
        assert taken.problems == ()
        assert taken.rows["relevance"].to_list() == relevance

    def test_judgments_of_minus_one_under_another_name_stay_for_the_rules(self):
        ids = {"query_id": ["q", "q"], "doc_id": ["a", "b"]}
        assert take(JUDGMENTS, **ids, score=[1, -1]).problems == ()
        assert "`label` holds" in take(JUDGMENTS, **ids, label=[1, -1]).problems[0]


class TestVerdicts:
    """Columns that nobody named, and that may say which pairs are right."""

    @pytest.mark.parametrize(
        ("name", "values"),
        [("gold_label", ["entailment", "contradiction"]),
         ("quality", ["good", "bad"]), ("is_duplicate", [0, 1]),
         ("same", [True, False]), ("score", [0.2, 4.8]), ("similarity", ["1", "0.3"]),
         ("rank", [1, 2]), ("cos_sim", [0.9, 0.1])],
    )  # fmt: skip
    def test_of_pairs_they_are_asked_about(self, name, values):
        pairs = {"sentence1": ["a", "b"], "sentence2": ["c", "d"]}
        (problem,) = take(**pairs, **{name: values}).problems
        assert f"`{name}` holds" in problem
        assert 'relevance = ""' in problem
        said = {"columns": {"relevance": ""}}
        assert take(said=said, **pairs, **{name: values}).problems == ()

    def test_what_is_named_is_read_by_its_grades(self):
        said = {"columns": {"relevance": "score"}, "grades": 4}
        taken = take(said=said, sentence1=["a", "b"], sentence2=["c", "d"], score=[0.2, 4.8])
        assert (taken.problems, taken.rows["relevance"].to_list()) == ((), [0, 1])

    def test_judgments_without_relevance_are_asked_about_any_number(self):
        ids = {"query_id": ["q", "q"], "doc_id": ["a", "b"]}
        assert "`grade` holds 0, 2" in take(JUDGMENTS, **ids, grade=[0, 2]).problems[0]
        assert take(JUDGMENTS, **ids, iteration=[0, 0]).problems == ()

    def test_the_score_of_a_ranking_is_no_grade(self):
        ranking = {"query_id": ["q", "q"], "doc_id": ["a", "b"], "rank": [1, 2], "score": [2, 1]}
        assert "name it as `candidates`" in take(JUDGMENTS, **ranking).problems[0]
        assert take(JUDGMENTS, {"columns": {"relevance": "score"}}, **ranking).problems == ()

    def test_triplets_and_their_scores_are_not(self):
        texts = {"anchor": ["a", "b"], "positive": ["c", "d"], "negative": ["e", "f"]}
        assert take(**texts, score=[0.1, 0.2]).problems == ()
        assert take(anchor=["a", "b"], positive=["c", "d"], positive_score=[1, 2]).problems == ()


def test_texts_that_are_nothing_but_numbers_are_asked_about():
    """MS MARCO's qidpidtriples: ids that would be mined as if they were texts."""
    (problem,) = take(anchor=["121352", "634306"], positive=["how", "who"]).problems
    assert "`anchor` holds nothing but numbers, as 121352" in problem
    said = {"columns": {"query": "anchor"}}
    assert take(said=said, anchor=["2", "3"], positive=["two", "three"]).problems == ()


@pytest.mark.parametrize(
    ("column", "values"),
    [("answer", ["A", "C", "A"]), ("answer", ["True", "False", "True"]),
     ("answer", ["['x']", "['y', 'z']", "[]"]), ("positive", ['["x"]', '["y"]', '["z"]']),
     ("passage", ["b'x'", "b'y'", "b'z'"]), ("answer", ["{'text': 'x'}"] * 3),
     ("negative", ["1", "0", "1"]), ("neg", ["['x']", "['y']", "['z']"])],
)  # fmt: skip
def test_cells_that_are_no_texts_are_asked_about(column, values):
    """MMLU's letters, BoolQ's truth values, what pandas makes of lists in a CSV file, LCQMC's 1."""
    texts = {"question": ["how?", "who?", "when?"], "positive": ["by x", "y did", "at z"]}
    if not column.startswith("neg"):
        del texts["positive"]
    (problem,) = take(**texts, **{column: values}).problems
    assert f"`{column}` holds" in problem
    assert f", as {values[0]}; " in problem
    key = "negative" if column == "neg" else "positive" if column != "negative" else column
    assert take(said={"columns": {key: column}}, **texts, **{column: values}).problems == ()


def test_a_corpus_of_numbers_has_its_columns_turned_round():
    (problem,) = take(CORPUS, doc_id=["red apples", "pears"], text=["17", "18"]).problems
    assert "`text` holds nothing but numbers, as 17" in problem


def test_labels_of_inference_are_classes_even_if_they_are_but_two():
    """RTE's 0 says that the hypothesis follows."""
    taken = take(premise=["a", "b"], hypothesis=["c", "d"], label=[0, 1])
    assert "`label` holds 0, 1" in taken.problems[0]


def test_marks_of_missing_values_are_missing_and_counted():
    taken = take(CORPUS, id=["1", "2", "3", "4"], text=["NaN is a number", "NaN", " null ", r"\N"],
                 title=[float("nan")] * 4)  # fmt: skip
    assert taken.rows["text"].to_list() == ["NaN is a number", None, None, None]
    assert taken.rows["title"].to_list() == [None] * 4
    assert taken.understood.missing == 7

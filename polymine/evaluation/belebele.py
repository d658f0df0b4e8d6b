"""Belebele (Bandarkar et al. 2023, arXiv 2308.16884): retrieval, and a choice of four options.

A row is a question on a passage; `link` names the passage in every language, `link` and
`question_number` the question. Retrieval follows MTEB's BelebeleRetrieval, which has only the
directions from and to English; here every direction of the asked languages is built by its rules:

- a query is a distinct question *text* of the query's language, so two rows that ask the same in
  the same words are one query with both their passages;
- a document is the first row of each `link` in the document's language, its text `flores_passage`;
- relevance joins by `link`, across languages.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.hub import hub_rows
from polymine.evaluation.languages import flores_code
from polymine.evaluation.tables import need_columns

# The copy and revision that MTEB 2.26 measures on.
BELEBELE = "mteb/belebele@979a211276faa22f671e69d096634193567cfd05"
_COLUMNS = ("link", "question_number", "flores_passage", "question")
_ANSWERS = ("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4")


def load_belebele(languages: Iterable[str], dataset: str = BELEBELE) -> dict[str, pl.DataFrame]:
    """Load the rows of some languages.

    Args:
        languages: ISO 639-1 codes, or FLORES codes where a language has none (`arb_Latn`).
        dataset: as in `hub_rows`.

    Returns:
        Rows by language, in the hub's order.

    Raises:
        InputError: for what is no language, before anything is fetched, and for a language that
            Belebele has not.
    """
    configs = {}
    for language in languages:
        try:
            configs[language] = flores_code(language)
        except LookupError as error:
            raise InputError(f"belebele: there is no language {language!r}") from error
    return {language: hub_rows(dataset, code, "test") for language, code in configs.items()}


def belebele_collection(rows: Mapping[str, pl.DataFrame]) -> EvaluationCollection:
    """Build all directions of the languages given; see this module for the procedure.

    On the whole of Belebele every direction has 900 queries, 488 documents and 900 judgments.

    Args:
        rows: by language: link, question_number, flores_passage, question.

    Returns:
        The collection. A document's `group_id` is its `link`, a query's the `link#question_number`
        of the first row that asks it, or null where it is on several passages. Judgments name the
        relevant passage in every language.
    """
    for language, frame in rows.items():
        need_columns(frame, _COLUMNS, f"belebele, {language}")
    links = pl.concat([frame.select("link") for frame in rows.values()]).unique(maintain_order=True)
    places = links.with_row_index("place")
    documents = pl.concat([_documents(frame, places, code) for code, frame in rows.items()])
    asked = pl.concat([_asked(frame, code) for code, frame in rows.items()])
    judgments = (
        asked.join(documents, left_on="link", right_on="group_id", maintain_order="left_right")
        .select("query_id", "doc_id", relevance=pl.lit(1, pl.Int8))
        .unique(maintain_order=True)
    )
    queries = asked.unique("query_id", keep="first", maintain_order=True)
    return EvaluationCollection(documents, queries.drop("link"), judgments)


def belebele_choice(rows: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Take the four-way multiple choice of every row.

    Args:
        rows: by language, as for `belebele_collection`, with mc_answer1 to mc_answer4 and
            correct_answer_num.

    Returns:
        `item_id` (`link#question_number`, the same in every language), `language, passage,
        question, answer_1` to `answer_4` and `correct` (UInt8), counted from 1 as in the source.

    Raises:
        InputError: where the correct answer is not one of 1, 2, 3, 4.
    """
    return pl.concat([_choice(frame, language) for language, frame in rows.items()])


def _documents(rows: pl.DataFrame, places: pl.DataFrame, language: str) -> pl.DataFrame:
    return (
        rows.unique("link", keep="first", maintain_order=True)
        .join(places, on="link", maintain_order="left")
        .select(
            doc_id=pl.format("belebele-{}-{}", pl.lit(language), _padded("place", 3)),
            text="flores_passage",
            language=pl.lit(language),
            group_id="link",
        )
    )


def _asked(rows: pl.DataFrame, language: str) -> pl.DataFrame:
    """One row per source row: which query asks about which link.

    Judgments are handed on within a group, so a query on several passages has none: the
    questions it merges are not each other's translations.
    """
    name = pl.format("belebele-q-{}-{}", pl.lit(language), _padded("number", 4))
    several = pl.col("link").n_unique().over("number") > 1
    numbers = rows.select("question").unique(maintain_order=True).with_row_index("number")
    return rows.join(numbers, on="question", maintain_order="left").select(
        query_id=name,
        text="question",
        language=pl.lit(language),
        group_id=pl.when(several.not_()).then(_item().first().over("number")),
        link="link",
    )


def _choice(rows: pl.DataFrame, language: str) -> pl.DataFrame:
    need_columns(rows, (*_COLUMNS, *_ANSWERS, "correct_answer_num"), f"belebele, {language}")
    number = pl.col("correct_answer_num").cast(pl.Int64, strict=False)
    wrong = rows.filter(number.is_between(1, 4).not_().fill_null(True))
    if not wrong.is_empty():
        raise InputError(
            f"belebele, {language}: the correct answer is a number from 1 to 4, got "
            f"{wrong['correct_answer_num'][0]!r} at {wrong.select(_item()).item(0, 0)}"
        )
    return rows.select(
        item_id=_item(),
        language=pl.lit(language),
        passage="flores_passage",
        question="question",
        **{f"answer_{place}": pl.col(name) for place, name in enumerate(_ANSWERS, start=1)},
        correct=number.cast(pl.UInt8),
    )


def _item() -> pl.Expr:
    return pl.format("{}#{}", "link", "question_number")


def _padded(column: str, width: int) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.zfill(width)

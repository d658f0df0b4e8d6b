"""Texts with what is relevant, in every direction of languages that they allow.

A direction names the document's language first: `ru-en` asks Russian documents in English. What
answers a question in one language answers its translations, and so do the answer's translations:
judgments are handed on along `group_id` on both sides, so that a set judged in one language
measures every direction it has texts for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from polymine.data_contracts.errors import InputError
from polymine.evaluation.bitext import texts_of_pairs
from polymine.evaluation.tables import check_known, check_unique, texts, typed
from polymine.mining.groups import linked
from polymine.mining.hashing import hash_texts, uniform

CHAINED = 1 / 3  # share of the questions from which a component is no unit to draw
POOL = "*"  # stands for all languages
_PAIR = {"query_id": pl.String, "doc_id": pl.String}
_JUDGMENTS = {**_PAIR, "relevance": pl.Int8}


@dataclass(frozen=True, eq=False)
class EvaluationCollection:
    """Documents, queries and judgments; vectors follow the order of these rows.

    Args:
        documents: doc_id, text, language and, if known, group_id (translations share one).
        queries: query_id, text, language and, if known, group_id; equal texts may have two ids.
        judgments: query_id, doc_id, relevance (above 0: relevant).
        hidden: query_id, doc_id of pairs that are left out of the query's ranking, as a sentence
            is from its own.

    Raises:
        InputError: a column is missing, an id or judgment is there twice, a text is empty, or a
            judgment names an id that does not exist.
    """

    documents: pl.DataFrame
    queries: pl.DataFrame
    judgments: pl.DataFrame
    hidden: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        """Check the tables, and give them exactly the columns that are needed."""
        hidden = pl.DataFrame(schema=_PAIR) if self.hidden is None else self.hidden
        for name, table in (
            ("documents", texts(self.documents, "documents", "doc_id")),
            ("queries", texts(self.queries, "queries", "query_id")),
            ("judgments", typed(self.judgments, "judgments", _JUDGMENTS)),
            ("hidden", typed(hidden, "hidden pairs", _PAIR).unique(maintain_order=True)),
        ):
            object.__setattr__(self, name, table)
        check_unique(self.judgments, "judgments", ["query_id", "doc_id"])
        for pairs, what in ((self.judgments, "judgments"), (self.hidden, "hidden pairs")):
            assert pairs is not None  # set above
            check_known(pairs, what, self.queries, "query_id")
            check_known(pairs, what, self.documents, "doc_id")

    @classmethod
    def from_pairs(cls, pairs: pl.DataFrame) -> EvaluationCollection:
        """Turn parallel texts into bitext retrieval; see `texts_of_pairs`.

        Args:
            pairs: text_a, lang_a, text_b, lang_b.

        Returns:
            A collection in which every distinct text is a query and a document.
        """
        columns = ("text_a", "lang_a", "text_b", "lang_b")
        tables = texts_of_pairs(typed(pairs, "pairs", dict.fromkeys(columns)))
        return cls(tables.documents, tables.queries, tables.judgments, tables.hidden)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Languages of documents or queries, in order."""
        every = pl.concat([self.documents["language"], self.queries["language"]])
        return tuple(every.unique().sort().to_list())

    @cached_property
    def relevant(self) -> pl.DataFrame:
        """List the pairs that are relevant in some direction, with their grade.

        A grade is handed on to translations of the query and of the document; the highest one
        counts, also against a 0 given to a translation.

        Returns:
            query_id, doc_id, relevance (above 0), query_language, document_language, by query and
            document.
        """
        queries = self.queries.select("query_id", pl.col("language").alias("query_language"),
                                      circle=_circle("query_id"))  # fmt: skip
        documents = self.documents.select("doc_id", pl.col("language").alias("document_language"),
                                          group=_circle("doc_id"))  # fmt: skip
        found = (
            self.judgments.filter(pl.col("relevance") > 0)
            .join(queries.select("query_id", "circle"), on="query_id")
            .join(documents.select("doc_id", "group"), on="doc_id")
            .group_by("circle", "group")
            .agg(pl.col("relevance").max())
            .join(queries, on="circle")
            .join(documents, on="group")
        )
        shown = found.join(self._hidden, on=["query_id", "doc_id"], how="anti")
        return shown.select(
            "query_id", "doc_id", "relevance", "query_language", "document_language"
        ).sort("query_id", "doc_id")

    @cached_property
    def directions(self) -> pl.DataFrame:
        """List every pair of languages, also those in which no query takes part.

        Returns:
            document_language (`*`: the pool), query_language, documents, queries (that take part)
            and left_out (that have no relevant document in this direction).
        """
        documents = self.documents.group_by(document_language="language").agg(documents=pl.len())
        pool = pl.DataFrame({"document_language": [POOL], "documents": [self.documents.height]})
        documents = pl.concat([documents, pool.cast(documents.schema)])
        asked = self.queries.group_by(query_language="language").agg(asked=pl.len())
        pooled = self.relevant.with_columns(document_language=pl.lit(POOL))
        answered = (
            pl.concat([self.relevant, pooled])
            .group_by("document_language", "query_language")
            .agg(queries=pl.col("query_id").n_unique())
        )
        return (
            documents.join(asked, how="cross")
            .join(answered, on=["document_language", "query_language"], how="left")
            .with_columns(pl.col("queries").fill_null(0))
            .with_columns(left_out=pl.col("asked") - pl.col("queries"))
            .drop("asked")
            .select("document_language", "query_language", "documents", "queries", "left_out")
            .sort("document_language", "query_language")
        )

    @property
    def questions(self) -> pl.DataFrame:
        """Name the question that each query asks in its language.

        Returns:
            query_id, question: translations share one.
        """
        return self.queries.select("query_id", question=_circle("query_id"))

    @property
    def answered(self) -> int:
        """Count the questions that have a relevant document, translations once."""
        known = self.questions.join(self.relevant, on="query_id", how="semi")
        return known["question"].n_unique()

    @cached_property
    def clusters(self) -> pl.DataFrame:
        """Name what each query is resampled with, see `polymine.evaluation.significance`.

        Queries hang together that ask the same in other languages, or that a document answers that
        answers both, or its translations: connected components. A component of more than CHAINED of
        the questions, as where many queries share many documents, says nothing about spread: there
        each question is drawn by itself (`chained`), and what its documents have in common with
        those of others is counted otherwise (`polymine.evaluation.shared`).

        Returns:
            query_id, question, chained (drawn by itself for that reason), answers (numbers of the
            relevant documents of a chained one, translations once; null of others).
        """
        asked = self.queries.select("query_id", own=_circle("query_id"))
        group = self.documents.select("doc_id", group=_circle("doc_id"))
        pairs = self.relevant.join(group, on="doc_id").select("query_id", "group").unique()
        rows = asked.join(pairs, on="query_id", how="left", maintain_order="left")
        rows = rows.with_columns(linked(rows, ["query_id", "own", "group"]))
        held = pl.col("own").n_unique().over("component")
        answered = rows.drop_nulls("group")["own"].n_unique()
        rows = rows.with_columns(
            chained=held > max(1, CHAINED * answered), answers=pl.col("group").rank("dense")
        )
        name = pl.when("chained").then("own").otherwise(pl.format("c:{}", "component"))
        named = rows.select("query_id", "chained", "answers", question=name)
        each = named.group_by("query_id", maintain_order=True).agg(
            pl.first("question", "chained"), pl.col("answers").drop_nulls()
        )
        return each.with_columns(answers=pl.when("chained").then("answers"))

    @property
    def chained(self) -> int:
        """Count the questions that hang together with too many others to be drawn with them."""
        return self.clusters.filter("chained")["question"].n_unique()

    def only(self, languages: tuple[str, ...]) -> EvaluationCollection:
        """Keep texts of some languages.

        Args:
            languages: codes as in the tables.

        Returns:
            The smaller collection; judgments were handed on before, so that none is lost.

        Raises:
            InputError: one of the languages has no texts here.
        """
        missing = sorted(set(languages) - set(self.languages))
        if missing:
            raise InputError(
                f"no texts in {', '.join(missing)}: the set has {', '.join(self.languages)}; "
                "take these languages out of `languages`"
            )
        spoken = pl.col("language").is_in(list(languages))
        return self.cut(self.documents.filter(spoken), self.queries.filter(spoken))

    def ask(self, queries: pl.DataFrame) -> EvaluationCollection:
        """Keep some queries and all documents.

        Args:
            queries: rows of this collection's queries.

        Returns:
            The smaller collection; judgments were handed on before, as by `only`.
        """
        return self.cut(self.documents, queries)

    def draw(self, count: int, seed: int) -> EvaluationCollection:
        """Keep a sample of the queries and all documents.

        Args:
            count: queries per language, at most. Those without any relevant document are not drawn.
            seed: with the hash of the group (of the id where there is none) it decides, so that the
                same questions are drawn in every language, whatever the order of the rows.

        Returns:
            The smaller collection, in the order of this one.
        """
        answered = self.queries.join(self.relevant, on="query_id", how="semi")
        keys = answered.select(_circle("query_id")).to_series()
        chosen = (
            answered.with_columns(random_key=uniform(seed, hash_texts(keys.to_list())))
            .sort("random_key", "query_id")
            .group_by("language", maintain_order=True)
            .head(count)
        )
        return self.ask(self.queries.join(chosen, on="query_id", how="semi", maintain_order="left"))

    def thin(self, count: int, seed: int) -> EvaluationCollection:
        """Keep all queries, what is relevant to them, and a sample of the other documents.

        Args:
            count: documents to keep, or as many more as are relevant.
            seed: with the hash of the id it decides, whatever the order of the rows.

        Returns:
            The smaller collection, in the order of this one.
        """
        drawn = uniform(seed, hash_texts(self.documents["doc_id"]))
        answers = pl.col("doc_id").is_in(self.relevant["doc_id"].unique().implode())
        order = self.documents.with_columns(drawn=drawn, answers=answers)
        most = max(count, int(order["answers"].sum()))
        kept = order.sort(~pl.col("answers"), "drawn", "doc_id").head(most)
        documents = self.documents.join(kept, on="doc_id", how="semi", maintain_order="left")
        return self.cut(documents, self.queries)

    @property
    def _hidden(self) -> pl.DataFrame:
        assert self.hidden is not None
        return self.hidden

    def cut(self, documents: pl.DataFrame, queries: pl.DataFrame) -> EvaluationCollection:
        """Keep these rows, with the judgments that translations handed on to them."""
        return EvaluationCollection(
            documents,
            queries,
            *(
                pairs.join(queries, on="query_id", how="semi").join(
                    documents, on="doc_id", how="semi"
                )
                for pairs in (self.relevant.select(*_JUDGMENTS), self._hidden)
            ),
        )


def _circle(identity: str) -> pl.Expr:
    """Name what belongs together; a group may be called like another row's id."""
    return (
        pl.when(pl.col("group_id").is_not_null())
        .then("g:" + pl.col("group_id"))
        .otherwise("i:" + pl.col(identity))
    )

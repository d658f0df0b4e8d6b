"""Collections in the shape of SQuAD: articles of paragraphs with questions on them."""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

from benchmarks.data.download import Download

Tables = dict[str, pl.DataFrame]


class Asked(NamedTuple):
    """A question on a paragraph; of a paragraph that nobody asks about, `query` is None."""

    split: str
    paragraph: str
    title: str | None
    query: str | None = None
    text: str | None = None
    answerable: bool = True


def asked_in(content: bytes, split: str) -> Iterator[Asked]:
    """Paragraphs and questions of a JSON file in SQuAD's format, in its order."""
    for article in json.loads(content)["data"]:
        title = (article.get("title") or "").strip() or None
        for paragraph in article["paragraphs"]:
            bare = Asked(split, paragraph["context"].strip(), title)
            for question in paragraph["qas"]:
                yield bare._replace(
                    query=str(question["id"]),
                    text=question["question"].strip(),
                    answerable=not question.get("is_impossible", False),
                )
            if not paragraph["qas"]:
                yield bare


def question_tables(name: str, language: str, asked: Iterable[Asked]) -> Tables:
    """Number paragraphs in the order they come in; a question asked twice of one counts once."""
    strings = dict.fromkeys(("split", "paragraph", "title", "query", "text"), pl.String)
    rows = pl.DataFrame(list(asked), {**strings, "answerable": pl.Boolean}, orient="row")
    corpus = rows.select(text="paragraph", title="title").unique(
        "text", keep="first", maintain_order=True
    )
    number = pl.int_range(pl.len()).cast(pl.String).str.zfill(5)
    corpus = corpus.select(
        number.alias("doc_id"), "text", "title", language=pl.lit(language)
    ).with_columns(doc_id=pl.lit(f"{name}-") + pl.col("doc_id"))
    rows = rows.filter(pl.col("query").is_not_null()).join(
        corpus.select("doc_id", paragraph="text"), on="paragraph", maintain_order="left"
    )
    rows = rows.with_columns(
        query_id=pl.lit(f"{name}-q-") + pl.col("query"), language=pl.lit(language)
    )
    known = rows.filter("answerable").unique(["text", "doc_id"], keep="first", maintain_order=True)
    not_there = rows.filter(~pl.col("answerable"))
    tables = {
        "corpus": corpus,
        "queries": known.select("query_id", "text", "language"),
        "qrels": judged(known.select("query_id", "doc_id")),
        "splits": known.select("query_id", "split"),
    }
    if not_there.height:
        tables["unanswerable"] = not_there.select("query_id", "text", "language", "doc_id")
    return tables


def judged(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs (query_id, doc_id) as relevant ones."""
    return pairs.with_columns(relevance=pl.lit(1, pl.Int8)).sort("query_id", "doc_id")


def squad_json(
    download: Download,
    name: str,
    source: str,
    language: str,
    files: Sequence[tuple[str, str]],
) -> Tables:
    """A collection of JSON files (split, path) of a repository."""
    asked: list[Asked] = []
    for split, path in files:
        content = download.file(source, path)
        asked += asked_in(gzip.decompress(content) if path.endswith(".gz") else content, split)
    return question_tables(name, language, asked)


def squad_dev(download: Download, name: str, source: str) -> Tables:
    """SQuAD's dev set as the hub has it."""
    rows = download.rows(source, "plain_text", "validation")
    asked = (
        Asked("dev", paragraph.strip(), title.replace("_", " "), query, text.strip())
        for query, text, paragraph, title in rows.select(
            "id", "question", "context", "title"
        ).iter_rows()
    )
    return question_tables(name, "en", asked)


def squad_it(download: Download, name: str, source: str, squad: Tables) -> Tables:
    """SQuAD's test set in Italian; its ids are those of the English questions it translates."""
    tables = squad_json(download, name, source, "it", [("test", "SQuAD_it-test.json.gz")])
    english = squad["qrels"].select(
        "query_id", pl.col("query_id").str.strip_prefix("squad-dev-q-").alias("query"), doc="doc_id"
    )
    italian = tables["qrels"].with_columns(query=pl.col("query_id").str.strip_prefix("squad-it-q-"))
    both = italian.join(english, on="query", suffix="_en", maintain_order="left")
    linked = both.select("doc_id", group_id="doc").unique(maintain_order=True)
    linked = linked.unique("doc_id", keep="none", maintain_order=True)  # of one paragraph alone
    itself = linked.select(doc_id="group_id", group_id="group_id").unique()
    return tables | {
        "translations": pl.concat([linked.sort("doc_id"), itself.sort("doc_id")]),
        "query_translations": both.select("query_id", group_id="query_id_en"),
    }


def xquad(
    download: Download, name: str, source: str, languages: Sequence[str], squad: Tables
) -> Tables:
    """The same paragraphs and questions in several languages, and which of them SQuAD's dev has."""
    corpora, queries, qrels = [], [], []
    for language in languages:
        number: dict[str, str] = {}
        for row in asked_in(download.file(source, f"xquad.{language}.json"), ""):
            if row.paragraph not in number:
                number[row.paragraph] = doc = f"xquad-{language}-{len(number):04d}"
                corpora.append((doc, row.paragraph, row.title, language, f"xquad-{doc[-4:]}"))
            group = f"xquad-q-{row.query}"
            queries.append((f"{group}-{language}", row.text, language, group))
            qrels.append((f"{group}-{language}", number[row.paragraph]))
    corpus = pl.DataFrame(
        corpora, ["doc_id", "text", "title", "language", "group_id"], orient="row"
    )
    asked = pl.DataFrame(queries, ["query_id", "text", "language", "group_id"], orient="row")
    overlap = corpus.filter(language="en").join(squad["corpus"], on="text", suffix="_squad")
    return {
        "corpus": corpus.drop("group_id"),
        "queries": asked.drop("group_id"),
        "qrels": judged(pl.DataFrame(qrels, ["query_id", "doc_id"], orient="row")),
        "translations": corpus.select("doc_id", "group_id"),
        "query_translations": asked.select("query_id", "group_id"),
        "squad_dev_overlap": overlap.select("group_id", squad_dev_doc_id="doc_id_squad"),
    }


def lareqa(download: Download, name: str, source: str, languages: Sequence[str]) -> Tables:
    """Sentences of XQuAD; the one that holds the answer is relevant, in every language."""
    corpus, queries, answers = [], [], []
    for language in languages:
        data = json.loads(download.file(source, f"xquad-r/{language}.json"))["data"]
        paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
        for at, paragraph in enumerate(paragraphs):
            stem = f"lareqa-{language}-{at:04d}"
            corpus += [
                (f"{stem}-{n:02d}", text.strip(), None, language)
                for n, text in enumerate(paragraph["sentences"])
            ]
            for question in paragraph["qas"]:
                start = question["answers"][0]["answer_start"]
                breaks = enumerate(paragraph["sentence_breaks"])
                holds = next(n for n, (_, end) in breaks if start < end)
                query = f"lareqa-q-{question['id']}"
                queries.append((f"{query}-{language}", question["question"].strip(), language))
                answers.append((query, language, f"{stem}-{holds:02d}"))
    asked = pl.DataFrame(answers, ["query", "language", "doc_id"], orient="row")
    pairs = asked.select("query", "language").join(asked.select("query", "doc_id"), on="query")
    return {
        "corpus": pl.DataFrame(
            corpus,
            {"doc_id": pl.String, "text": pl.String, "title": pl.String, "language": pl.String},
            orient="row",
        ),
        "queries": pl.DataFrame(queries, ["query_id", "text", "language"], orient="row"),
        "qrels": judged(
            pairs.select(pl.format("{}-{}", "query", "language").alias("query_id"), "doc_id")
        ),
    }

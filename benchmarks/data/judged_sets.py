"""Collections with judgments of their own: SMART's, SciFact, ePQA, MedQuAD, PubMedQA."""

import csv
import io
import json
import re
from xml.etree import ElementTree

import polars as pl

from benchmarks.data.download import Download
from benchmarks.data.questions import Tables, judged

TEXTS = ["doc_id", "text", "title", "language"]
# Cranfield's codes, the best first; -1 is the paper that the question was asked about.
CRANFIELD = {-1: 5, 1: 4, 2: 3, 3: 2, 4: 1}


def plain(text: str | None) -> str:
    """One line: runs of white space become a space."""
    return " ".join((text or "").split())


def smart_records(text: str) -> dict[int, dict[str, str]]:
    """Fields of SMART's format by record: `.I 1`, then `.T` and `.W` with their lines."""
    records: dict[int, dict[str, str]] = {}
    for block in re.split(r"^\.I\s+", text, flags=re.MULTILINE)[1:]:
        number, _, body = block.partition("\n")
        fields = re.split(r"^\.([A-Z])\b[^\n]*\n?", body, flags=re.MULTILINE)
        records[int(number)] = {
            key: plain(value) for key, value in zip(fields[1::2], fields[2::2], strict=True)
        }
    return records


def smart(download: Download, name: str, source: str, folder: str) -> Tables:
    """A collection of Glasgow's: documents, queries and judgments of a folder in SMART's format.

    Cranfield's queries count by their order, since their numbers are not those of the judgments.
    """
    files = dict(download.members(source, folder))
    texts = {path.rpartition("/")[2].lower(): raw.decode("latin-1") for path, raw in files.items()}

    def pick(pattern: str) -> str:
        found = [text for path, text in texts.items() if re.fullmatch(pattern, path)]
        if len(found) != 1:
            raise ValueError(f"{source}:{folder} has {len(found)} files {pattern}, expected 1")
        return found[0]

    records = smart_records(pick(r"\w+\.all(\.1400)?"))
    queries = smart_records(pick(r"\w+\.qry|query\.text"))
    rows = [line.split() for line in pick(r"\w+\.rel|cranqrel|qrels\.text").splitlines() if line]
    corpus = [
        (f"{name}-d-{number}", _body(record), record.get("T") or None, "en")
        for number, record in records.items()
        if _body(record)
    ]
    numbers = {n: at for at, n in enumerate(queries, 1)} if name == "cranfield" else {}
    known = {doc for doc, *_ in corpus}
    grades = [
        (f"{name}-q-{int(row[0])}", f"{name}-d-{_document(row)}", _grade(name, row)) for row in rows
    ]
    return {
        "corpus": pl.DataFrame(corpus, dict.fromkeys(TEXTS, pl.String), orient="row"),
        "queries": pl.DataFrame(
            [(f"{name}-q-{numbers.get(n, n)}", r["W"], "en") for n, r in queries.items()],
            ["query_id", "text", "language"],
            orient="row",
        ),
        "qrels": pl.DataFrame(
            [grade for grade in grades if grade[1] in known],
            {"query_id": pl.String, "doc_id": pl.String, "relevance": pl.Int8},
            orient="row",
        )
        .unique(["query_id", "doc_id"], keep="first", maintain_order=True)
        .sort("query_id", "doc_id"),
    }


def _body(record: dict[str, str]) -> str:
    """The abstract without the title that some repeat; the title where there is none."""
    title, text = record.get("T", ""), record.get("W", "")
    return text.removeprefix(title).strip() or title


def _document(row: list[str]) -> int:
    """Second number of a judgment, or the third of TREC's format, whose second is always 0."""
    return int(row[2] if row[1] == "0" else row[1])


def _grade(name: str, row: list[str]) -> int:
    return CRANFIELD[int(row[2])] if name == "cranfield" else 1


def scifact(download: Download, name: str, source: str) -> Tables:
    """Claims and abstracts as MTEB has them on the hub: cited is relevant, evidence is unknown."""
    corpus = download.rows(source, "corpus", "corpus")
    queries = download.rows(source, "queries", "queries")
    parts = [
        download.rows(source, "default", split).with_columns(split=pl.lit(here))
        for split, here in (("train", "train"), ("test", "validation"))
    ]
    qrels = pl.concat(parts).with_columns(query_id=pl.lit(f"{name}-q-") + pl.col("query-id"))
    qrels = qrels.filter(pl.col("score") > 0)
    return {
        "corpus": corpus.select(
            doc_id=pl.lit(f"{name}-") + pl.col("_id"),
            text=pl.col("text").map_elements(plain, pl.String),
            title=pl.col("title").map_elements(plain, pl.String),
            language=pl.lit("en"),
        ),
        "queries": queries.select(
            query_id=pl.lit(f"{name}-q-") + pl.col("_id"),
            text=pl.col("text").map_elements(plain, pl.String),
            language=pl.lit("en"),
        ).join(qrels, on="query_id", how="semi", maintain_order="left"),
        "qrels": judged(qrels.select("query_id", doc_id=pl.lit(f"{name}-") + pl.col("corpus-id"))),
        "splits": qrels.select("query_id", "split").unique().sort("query_id"),
    }


def epqa(download: Download, name: str, source: str) -> Tables:
    """Questions on a product with candidates judged 2, 1 or 0; equal texts on it are one."""
    raw = io.StringIO(download.text(source, "ePQA/dev.csv"))
    rows = pl.DataFrame(list(csv.DictReader(raw))).with_columns(
        pl.col("question", "candidate", "title").map_elements(plain, pl.String),
        query_id=pl.lit("epqa-q-") + pl.col("qid"),
    )
    texts = rows.unique(["ASIN", "candidate"], keep="first", maintain_order=True).with_row_index()
    texts = texts.with_columns(
        doc_id=pl.lit("epqa-") + pl.col("index").cast(pl.String).str.zfill(5)
    )
    pairs = rows.select("query_id", "ASIN", "candidate", "label").join(
        texts.select("ASIN", "candidate", "doc_id"), on=["ASIN", "candidate"]
    )
    asked = rows.unique("query_id", keep="first", maintain_order=True)
    product = pl.col("ASIN").alias("product")
    return {
        "corpus": texts.select("doc_id", "title", text="candidate", language=pl.lit("en")),
        "queries": asked.select("query_id", text="question", language=pl.lit("en")),
        "qrels": pairs.group_by("query_id", "doc_id")
        .agg(relevance=pl.col("label").cast(pl.Int8).max())
        .sort("query_id", "doc_id"),
        "doc_meta": texts.select("doc_id", product, "source"),
        "query_meta": asked.select("query_id", product, product_title="title"),
    }


def medquad(download: Download, name: str, source: str) -> Tables:
    """Questions and answers of NIH pages; equal answers are one, equal questions, too."""
    rows = []
    for _, raw in download.members(source, "", ".xml"):
        page = ElementTree.fromstring(raw)
        focus = plain(page.findtext("Focus")) or None
        for pair in page.iter("QAPair"):
            question = pair.find("Question")
            answer = plain(pair.findtext("Answer"))
            if question is not None and answer:
                kind = question.get("qtype")
                rows.append((plain(question.text), answer, focus, kind, page.get("source")))
    columns = ["question", "answer", "focus", "question_type", "source"]
    frame = pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")
    frame = frame.with_columns(key=pl.col("question").str.to_lowercase())
    documents = frame.unique("answer", keep="first", maintain_order=True).with_row_index()
    asked = frame.unique("key", keep="first", maintain_order=True).with_row_index()
    number = pl.col("index").cast(pl.String).str.zfill(5)
    documents = documents.with_columns(doc_id=pl.lit("medquad-") + number)
    asked = asked.with_columns(query_id=pl.lit("medquad-q-") + number)
    pairs = frame.join(documents.select("answer", "doc_id"), on="answer").join(
        asked.select("key", "query_id"), on="key"
    )
    return {
        "corpus": documents.select("doc_id", text="answer", title="focus", language=pl.lit("en")),
        "queries": asked.select("query_id", text="question", language=pl.lit("en")),
        "qrels": judged(pairs.select("query_id", "doc_id").unique()),
        "query_meta": asked.select("query_id", "question_type", "focus", "source"),
    }


def pubmedqa(download: Download, name: str, source: str) -> Tables:
    """Research questions and the abstract, without its conclusion, that each is the title of."""
    papers = json.loads(download.file(source, "data/ori_pqal.json"))
    tested = json.loads(download.file(source, "data/test_ground_truth.json"))
    rows = [
        (f"{name}-{pmid}", plain(" ".join(paper["CONTEXTS"])), None, "en")
        for pmid, paper in papers.items()
    ]
    asked = [(f"{name}-q-{pmid}", plain(paper["QUESTION"]), "en") for pmid, paper in papers.items()]
    pairs = [(f"{name}-q-{pmid}", f"{name}-{pmid}") for pmid in papers]
    splits = [(f"{name}-q-{pmid}", "test" if pmid in tested else "dev") for pmid in papers]
    return {
        "corpus": pl.DataFrame(rows, dict.fromkeys(TEXTS, pl.String), orient="row"),
        "queries": pl.DataFrame(asked, ["query_id", "text", "language"], orient="row"),
        "qrels": judged(pl.DataFrame(pairs, ["query_id", "doc_id"], orient="row")),
        "splits": pl.DataFrame(splits, ["query_id", "split"], orient="row"),
    }

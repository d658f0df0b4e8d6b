"""Sentences in several languages: parallel ones, scored ones, labelled ones."""

import csv
import io
from collections.abc import Mapping

import polars as pl

from benchmarks.data.download import Download
from benchmarks.data.questions import Tables

PAIRS = {
    "id": pl.String, "text_a": pl.String, "lang_a": pl.String, "text_b": pl.String,
    "lang_b": pl.String, "score": pl.Float64,
}  # fmt: skip
STSB_LANGUAGES = ("en", "de", "es", "fr", "it", "nl", "pt", "pl", "ru", "zh", "ja")


def _lines(text: str) -> list[str]:
    """Lines at line feeds alone, as they count in parallel files."""
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def tatoeba(download: Download, name: str, source: str, codes: Mapping[str, str]) -> Tables:
    """Sentences and their English translation, line by line; English differs by language."""
    pairs = []
    for language, code in codes.items():
        stem = f"data/tatoeba/v1/tatoeba.{code}-eng"
        sides = (_lines(download.text(source, f"{stem}.{side}")) for side in (code, "eng"))
        for at, (own, english) in enumerate(zip(*sides, strict=True)):
            pairs.append((f"{name}-{language}-{at:04d}", own, language, english, "en", None))
    return {"pairs": pl.DataFrame(pairs, PAIRS, orient="row")}


def ntrex(download: Download, name: str, source: str, codes: Mapping[str, str]) -> Tables:
    """News translated from one English text; the number of a line is that of all languages."""
    english = _lines(download.text(source, "NTREX-128/newstest2019-src.eng.txt"))
    pairs = []
    for language, code in codes.items():
        own = _lines(download.text(source, f"NTREX-128/newstest2019-ref.{code}.txt"))
        for at, (text, original) in enumerate(zip(own, english, strict=True)):
            pairs.append((f"{name}-{language}-{at:04d}", text, language, original, "en", None))
    ids = [line.split("\t")[0] for line in _lines(download.text(source, "DOCUMENT_IDS.tsv"))]
    documents = [(f"{at:04d}", document) for at, document in enumerate(ids[-len(english) :])]
    return {
        "pairs": pl.DataFrame(pairs, PAIRS, orient="row"),
        "documents": pl.DataFrame(documents, ["line", "document"], orient="row"),
    }


def stsb(download: Download, name: str, source: str) -> Tables:
    """The STS benchmark, translated by machine; a pair is the same in all languages."""
    pairs, splits = [], []
    for split in ("train", "dev", "test"):
        for language in STSB_LANGUAGES:
            raw = io.StringIO(download.text(source, f"data/stsb-{language}-{split}.csv"))
            for at, (left, right, score) in enumerate(csv.reader(raw)):
                group = f"stsb-{split}-{at:04d}"
                row = f"{group}-{language}"
                texts = (left.strip(), language, right.strip(), language)
                pairs.append((row, *texts, float(score)))
                splits.append((row, split, group))
    return {
        "pairs": pl.DataFrame(pairs, PAIRS, orient="row"),
        "splits": pl.DataFrame(splits, ["id", "split", "group_id"], orient="row"),
    }


def sib200(download: Download, name: str, source: str, codes: Mapping[str, str]) -> Tables:
    """Sentences of FLORES-200 with a topic each, the same in all languages."""
    rows = []
    for language, code in codes.items():
        for split in ("train", "dev", "test"):
            text = download.text(source, f"data/annotated/{code}/{split}.tsv")
            lines = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
            for row in lines:
                group = f"{name}-{int(row['index_id']):04d}"
                sentence = row["text"].strip()
                rows.append(
                    (f"{group}-{language}", group, sentence, language, row["category"], split)
                )
    columns = ["id", "group_id", "text", "language", "label", "split"]
    return {"sentences": pl.DataFrame(rows, columns, orient="row")}

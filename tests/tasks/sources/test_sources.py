"""Reading data sets: formats, layouts, column names, fingerprints, and bad files."""

import gzip
import time
from pathlib import Path

import fsspec
import polars as pl
import pytest

from polymine.data_contracts.settings import DatasetSettings
from polymine.mining.ingestion import ingest
from polymine.tasks.sources.reading import fingerprint_sources
from tests.public_data import public
from tests.tasks.sources.small_sources import (
    DOCUMENTS,
    JUDGMENTS,
    QUERIES,
    failure,
    read,
    read_corpus,
    write_lines,
    write_tables,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tables(tmp_path)


class TestFormats:
    @pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl", "ndjson"])
    def test_every_format_reads_alike(self, folder, suffix):
        path = folder / f"mine.{suffix}"
        write = {
            "parquet": DOCUMENTS.write_parquet,
            "csv": DOCUMENTS.write_csv,
            "tsv": lambda path: DOCUMENTS.write_csv(path, separator="\t"),
        }.get(suffix, DOCUMENTS.write_ndjson)
        write(path)
        read_back = read_corpus(folder, path)
        assert read_back.select("doc_id", "text").equals(DOCUMENTS)
        assert read_back["language"].to_list() == ["und", "und"]

    @pytest.mark.parametrize("suffix", ["csv", "jsonl"])
    def test_compressed(self, folder, suffix):
        path = folder / f"mine.{suffix}"
        (DOCUMENTS.write_csv if suffix == "csv" else DOCUMENTS.write_ndjson)(path)
        packed = folder / f"mine.{suffix}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert read_corpus(folder, packed)["text"].to_list() == DOCUMENTS["text"].to_list()

    def test_csv_ids_keep_their_zeros(self, folder):
        path = write_lines(folder / "c.csv", "id,text", "007,bond", "7,seven")
        assert read_corpus(folder, path)["doc_id"].to_list() == ["007", "7"]

    def test_integer_ids_become_strings(self, folder):
        path = folder / "ints.parquet"
        pl.DataFrame({"id": [1, 2], "text": ["a", "b"]}).write_parquet(path)
        assert read_corpus(folder, path)["doc_id"].to_list() == ["1", "2"]

    def test_a_list_of_files_is_concatenated_and_rows_remember_theirs(self, folder):
        more = write_lines(folder / "more.jsonl", {"_id": "d3", "text": "c", "lang": "fr"})
        table = read_corpus(folder, [folder / "corpus.parquet", more], language="en")
        assert table["doc_id"].to_list() == ["d1", "d2", "d3"]
        assert table["language"].to_list() == ["en", "en", "fr"]
        assert table["source_file"][2] == str(more)

    def test_a_folder_of_files(self, folder):
        shards = folder / "shards"
        shards.mkdir()
        for name, part in (("b.parquet", DOCUMENTS[1:]), ("a.parquet", DOCUMENTS[:1])):
            part.write_parquet(shards / name)
        (shards / "README.md").write_text("no data")
        assert read_corpus(folder, shards)["doc_id"].to_list() == ["d1", "d2"]

    def test_any_url_that_fsspec_knows(self, folder):
        memory = fsspec.filesystem("memory")
        for path in folder.glob("*.parquet"):
            memory.pipe_file(f"/polymine-test/{path.name}", path.read_bytes())
        raw = read("memory://polymine-test")
        assert raw.documents["doc_id"].to_list() == ["d1", "d2"]
        one = read_corpus(folder, "memory://polymine-test/corpus.parquet")
        assert one["text"].to_list() == DOCUMENTS["text"].to_list()
        assert "memory://nowhere" in failure("memory://nowhere")

    def test_hub_data_sets_go_through_its_cache(self, folder, monkeypatch):
        asked = {}

        def snapshot_download(repository, **options):
            asked.update(options, repository=repository)
            return str(folder)

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
        assert read("hf://datasets/org/name@v1").documents.height == 2
        assert (asked["repository"], asked["revision"]) == ("org/name", "v1")
        assert "*.parquet*" in asked["allow_patterns"]
        assert read_corpus(folder, "hf://datasets/org/name/corpus.parquet").height == 2
        assert asked["allow_patterns"] == ["corpus.parquet"]
        assert "expected `hf://datasets/ORG/NAME" in failure("hf://org/name")

    def test_hub_that_cannot_be_reached(self, monkeypatch):
        def refuse(*_, **__):
            raise ConnectionError("no network\nmore")

        monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
        assert failure("hf://datasets/org/name").endswith("from the hub: no network")


class TestLayouts:
    def test_tables_in_one_folder(self, folder):
        raw = read(folder)
        assert (raw.documents.height, raw.queries.height, raw.judgments.height) == (2, 2, 2)
        assert raw.names[2].endswith("qrels.parquet")

    def test_beir_folder_with_all_its_splits(self, tmp_path):
        write_lines(
            tmp_path / "corpus.jsonl",
            {"_id": "1", "title": "Fruit", "text": "red apples", "metadata": {}},
            {"_id": "2", "title": "", "text": "green pears", "metadata": {"url": "x"}},
        )
        write_lines(
            tmp_path / "queries.jsonl", {"_id": "a", "text": "?"}, {"_id": "b", "text": "!"}
        )
        header = "query-id\tcorpus-id\tscore"
        write_lines(tmp_path / "qrels/test.tsv", header, "a\t1\t1")
        write_lines(tmp_path / "qrels/train.tsv", header, "b\t2\t2")
        raw = read(tmp_path)
        assert raw.documents["text"].to_list() == ["Fruit red apples", "green pears"]
        assert raw.judgments.select("query_id", "doc_id", "relevance").rows() == [
            ("a", "1", "1"), ("b", "2", "2"),
        ]  # fmt: skip
        only = read(tmp_path, queries=tmp_path, judgments=tmp_path / "qrels/train.tsv")
        assert only.judgments["query_id"].to_list() == ["b"]
        assert ingest(raw.documents, raw.queries, raw.judgments).closure.height == 2

    def test_hub_layout_with_shards(self, folder):
        for name in ("corpus", "queries", "qrels"):
            (folder / f"{name}.parquet").rename(folder / f"{name}-00000-of-00001.parquet")
        assert read(folder).documents.height == 2

    def test_translations_give_groups(self, folder):
        side = {"doc_id": ["d1", "elsewhere"], "group_id": ["g", "g"]}
        pl.DataFrame(side).write_parquet(folder / "translations.parquet")
        before = read(folder)
        assert before.documents["group_id"].to_list() == ["g", None]
        assert read_corpus(folder, folder / "corpus.parquet")["group_id"].to_list() == ["g", None]
        pl.DataFrame({"doc_id": ["d1"], "group_id": ["h"]}).write_csv(folder / "translations.csv")
        (folder / "translations.parquet").unlink()
        after = read(folder)
        assert after.documents["group_id"].to_list() == ["h", None]
        assert after.fingerprint != before.fingerprint

    def test_a_groups_column_of_its_own_wins(self, folder):
        DOCUMENTS.with_columns(group_id=pl.lit("own")).write_parquet(folder / "corpus.parquet")
        side = pl.DataFrame({"doc_id": ["d1"], "group_id": ["g"]})
        side.write_parquet(folder / "translations.parquet")
        assert read(folder).documents["group_id"].to_list() == ["own", "own"]

    def test_ambiguous_translations_are_an_error(self, folder):
        side = pl.DataFrame({"doc_id": ["d1", "d1"], "group_id": ["g", "h"]})
        side.write_parquet(folder / "translations.parquet")
        assert "1 ids are in several groups, such as d1" in failure(folder)

    def test_a_missing_role_says_what_was_found(self, folder):
        (folder / "qrels.parquet").unlink()
        message = failure(folder)
        assert "no judgments in it, expected qrels or judgments" in message
        assert "corpus.parquet" in message


class TestColumns:
    @pytest.mark.parametrize(
        ("key", "text"),
        [("_id", "contents"), ("docid", "passage"), ("ID", "Text"), ("doc_id", "document")],
    )
    def test_synonyms_of_documents(self, folder, key, text):
        path = folder / "renamed.parquet"
        DOCUMENTS.rename({"doc_id": key, "text": text}).write_parquet(path)
        assert read_corpus(folder, path).select("doc_id", "text").equals(DOCUMENTS)

    def test_relevance_may_be_missing(self, folder):
        JUDGMENTS.drop("relevance").write_parquet(folder / "qrels.parquet")
        assert read(folder).judgments["relevance"].to_list() == [1, 1]

    def test_titles_are_prepended_or_ignored(self, folder):
        titled = DOCUMENTS.with_columns(title=pl.Series(["Fruit", None]))
        titled.write_parquet(folder / "corpus.parquet")
        assert read(folder).documents["text"].to_list() == ["Fruit red apples", "green pears"]
        ignored = read(folder, title="ignore")
        assert ignored.documents["text"].to_list() == ["red apples", "green pears"]
        assert ignored.fingerprint != read(folder).fingerprint

    def test_other_columns_are_left_out(self, folder):
        DOCUMENTS.with_columns(vector=pl.lit([1.0])).write_parquet(folder / "corpus.parquet")
        assert "vector" not in read(folder).documents.columns

    def test_missing_columns_of_all_files_at_once(self, folder):
        DOCUMENTS.rename({"text": "txt"}).write_parquet(folder / "corpus.parquet")
        QUERIES.drop("query_id").write_parquet(folder / "queries.parquet")
        message = failure(folder)
        assert "corpus.parquet: column `text` is missing; did you mean `txt`?" in message
        assert "queries.parquet: column `query_id` is missing (found: text, language)" in message
        assert '`[dataset.columns]` says what it is called, as `document = "..."`' in message


class TestBadFiles:
    def test_no_such_file(self, folder):
        message = failure(folder / "corpse.parquet", queries=folder, judgments=folder)
        assert "corpse.parquet: there is no such file or folder" in message

    def test_unknown_format(self, folder):
        (folder / "corpus.doc").write_text("x")
        assert "cannot tell the format" in failure(
            folder / "corpus.doc", queries=folder, judgments=folder
        )

    def test_folder_without_data(self, tmp_path):
        assert "the folder holds none of .parquet" in failure(tmp_path)

    def test_unknown_demo(self):
        assert "the only demo is `demo:docstrings`" in failure("demo:other")

    @pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
    def test_empty_file(self, folder, suffix):
        path = folder / f"empty.{suffix}"
        path.touch()
        assert "the file is empty" in failure(path, queries=folder, judgments=folder)

    def test_damaged_parquet(self, folder):
        path = folder / "corpus.parquet"
        path.write_bytes(path.read_bytes()[:-20])
        assert "corpus.parquet: cannot be read as PARQUET" in failure(folder)

    def test_damaged_lines(self, folder):
        (folder / "corpus.parquet").unlink()
        good = [{"_id": f"d{i}", "text": f"text {i}"} for i in (1, 2)]
        write_lines(
            folder / "corpus.jsonl",
            *good,
            '{"_id": "d3", "te',
            "[1]",
            '{"_id": "d4", "text": "\\ud800"}',
            {"_id": "d5", "text": ["a", "b"]},
        )
        message = failure(folder)
        assert "corpus.jsonl: not a line of JSON (1 row)" in message
        assert '{"line": 3' in message
        assert "not a JSON object" in message
        assert "half of a surrogate pair" in message
        assert "`text` is a list of strings, not a string as in most lines" in message
        raw = read(folder, on_invalid="quarantine")
        assert raw.documents["doc_id"].to_list() == ["d1", "d2"]
        assert raw.rows_rejected.height == 4

    def test_damaged_csv_rows(self, folder):
        path = folder / "c.csv"
        path.write_bytes(b"id,text\nd1,one\nd2,two,three\nd3,\xff\xfe\nd4,four\n")
        named = {"queries": folder, "judgments": folder}
        message = failure(path, **named)
        assert "c.csv: more fields than the header (1 row)" in message
        assert "c.csv: not UTF-8 (1 row)" in message
        raw = read(path, on_invalid="quarantine", **named)
        assert raw.documents["doc_id"].to_list() == ["d1", "d4"]


class TestFingerprint:
    def test_depends_on_content_and_not_on_names(self, folder, tmp_path_factory):
        before = read(folder).fingerprint
        moved = folder.rename(tmp_path_factory.mktemp("else") / "where")
        assert read(moved).fingerprint == before
        DOCUMENTS.with_columns(text=pl.lit("changed")).write_parquet(moved / "corpus.parquet")
        assert read(moved).fingerprint != before

    def test_same_bytes_in_another_role_are_another_data_set(self, folder):
        one = read(folder, queries=folder, judgments=folder).fingerprint
        corpus = [folder / "corpus.parquet", folder / "corpus.parquet"]
        assert read(corpus, queries=folder, judgments=folder).fingerprint != one

    def test_is_cheap(self):
        settings = DatasetSettings(corpus=str(public("medquad")))
        started = time.process_time()
        fingerprint_sources(settings)
        assert time.process_time() - started < 0.2


@pytest.mark.parametrize(("name", "missing"), [("xquad", 0), ("cacm", 4), ("cisi", 0)])
def test_public_data_sets_are_read_and_ingested(name, missing):
    """Four texts of CACM are the word `None`; one of them is judged."""
    raw = read(public(name))
    result = ingest(
        raw.documents, raw.queries, raw.judgments, names=raw.names, on_invalid="quarantine"
    )
    assert result.documents.height + result.copies.height == raw.documents.height - missing
    assert result.rejected.height == missing + (name == "cacm")
    if name == "xquad":
        assert result.documents["group_id"].null_count() == 0
        assert result.queries["group_id"].null_count() == 0


def test_labels_say_what_they_are(tmp_path):
    """Judgments without relevance are positives; labels without it would mean anything."""
    write_tables(tmp_path)
    columns = {"query_id": ["q1"], "doc_id": ["d2"]}
    pl.DataFrame(columns).write_csv(tmp_path / "named.csv")
    pl.DataFrame({**columns, "relevance": [0]}).write_csv(tmp_path / "good.csv")
    assert "relevance" in failure(tmp_path, labels=tmp_path / "named.csv")
    labels = read(tmp_path, labels=tmp_path / "good.csv").labels
    assert labels.select("query_id", "doc_id", "relevance").rows() == [("q1", "d2", "0")]  # raw

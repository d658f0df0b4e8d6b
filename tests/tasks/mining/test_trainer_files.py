"""The files of each format: as documented, and by the trainers' own readers where installed.

The readers are no requirement of the tests: `pip install --no-deps` FlagEmbedding, tevatron,
nemo-automodel or ms-swift and what their imports ask for.
"""

import json
from pathlib import Path

import polars as pl
import pytest

from polymine.tasks.mining.trainer_formats import TrainerFiles
from tests.mining.small_triplets import TEXTS, TWO

RUN = "0123456789abcdef"
NEGATIVES = {"q?": {TEXTS["c"], TEXTS["b"]}, "r?": {TEXTS["a"]}}
POSITIVES = {"q?": {TEXTS["a"], TEXTS["p"]}, "r?": {TEXTS["c"]}}
SCORES = {"q?": {"a": 0.75, "p": 0.5, "c": 0.25, "b": 0.5}, "r?": {"c": 0.25, "a": 0.125}}
SCORE_OF = {q: {TEXTS[doc]: score for doc, score in scores.items()} for q, scores in SCORES.items()}


@pytest.fixture(params=[1, 2], ids=["one-block", "two-blocks"])
def blocks(request) -> list[pl.DataFrame]:
    """The same triplets in one file, or a file per query."""
    if request.param == 1:
        return [TWO]
    return [TWO.filter(query_id="q"), TWO.filter(query_id="r")]


def write(folder: Path, form: str, blocks: list[pl.DataFrame]) -> list[Path]:
    files = TrainerFiles(folder, form, RUN)
    written = sum(files.write_block(number, block) for number, block in enumerate(blocks))
    assert written == (3 if form == "ms-swift" else 2)
    return sorted(folder.glob("part-*"))


def lines(paths: list[Path]) -> list[dict]:
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").split("\n")[:-1]]


class TestFlagEmbedding:
    def test_as_documented(self, tmp_path, blocks):
        paths = write(tmp_path, "flagembedding", blocks)
        assert [path.name for path in paths] == [f"part-{n:05d}.jsonl" for n in range(len(blocks))]
        assert sorted(tmp_path.iterdir()) == paths  # its reader takes whatever lies there for data
        for record in lines(paths):
            assert list(record) == ["query", "pos", "neg", "pos_scores", "neg_scores"]
            query = record["query"]
            assert set(record["pos"]) == POSITIVES[query]
            assert set(record["neg"]) == NEGATIVES[query]
            texts, scores = [*record["pos"], *record["neg"]], SCORE_OF[query]
            assert [*record["pos_scores"], *record["neg_scores"]] == [scores[t] for t in texts]

    def test_its_reader(self, tmp_path, blocks):
        reader = pytest.importorskip(
            "FlagEmbedding.abc.finetune.embedder", reason="needs FlagEmbedding",
            exc_type=ImportError,
        )  # fmt: skip
        write(tmp_path / "data", "flagembedding", blocks)
        arguments = reader.AbsEmbedderDataArguments(
            train_data=[str(tmp_path / "data")], cache_path=str(tmp_path / "cache"),
            knowledge_distillation=True, train_group_size=3,
        )  # fmt: skip
        data = reader.AbsEmbedderTrainDataset(arguments, tokenizer=None)
        assert len(data) == 2
        for query, passages, scores in (data[0], data[1]):
            assert passages[0] in POSITIVES[query]
            assert set(passages[1:]) == NEGATIVES[query]
            assert scores == [SCORE_OF[query][text] for text in passages]


class TestTevatron:
    def test_as_documented(self, tmp_path, blocks):
        for record in lines(write(tmp_path, "tevatron", blocks)):
            query = record["query"]
            assert f"{record['query_id']}?" == query
            for key, texts in (("positive_passages", POSITIVES), ("negative_passages", NEGATIVES)):
                passages = record[key]
                assert {passage["text"] for passage in passages} == texts[query]
                for passage in passages:
                    assert list(passage) == ["docid", "text", "score"]
                    assert TEXTS[passage["docid"]] == passage["text"]
                    assert SCORES[query][passage["docid"]] == passage["score"]

    def test_its_reader(self, tmp_path, blocks):
        reader = pytest.importorskip(
            "tevatron.datasets", reason="needs tevatron 0.1", exc_type=ImportError
        )
        arguments = pytest.importorskip("tevatron.arguments", exc_type=ImportError)
        paths = write(tmp_path / "data", "tevatron", blocks)
        asked = arguments.DataArguments(dataset_name="json", passage_field_separator=" ")
        asked.train_path, asked.dataset_split = [str(path) for path in paths], "train"
        data = reader.HFTrainDataset(_Characters(), asked, str(tmp_path / "cache")).dataset
        assert len(data) == 2
        process = reader.TrainPreProcessor(_Characters())
        for row in data:
            found = process(row)
            query = _spell(found["query"])
            assert {_spell(codes) for codes in found["positives"]} == POSITIVES[query]
            assert {_spell(codes) for codes in found["negatives"]} == NEGATIVES[query]


class _Characters:
    """A tokenizer whose tokens are characters."""

    def encode(self, text: str, **_: object) -> list[int]:
        return [ord(character) for character in text]


def _spell(codes: list[int]) -> str:
    return "".join(map(chr, codes))


class TestNemo:
    def test_as_documented(self, tmp_path, blocks):
        paths = write(tmp_path, "nemo", blocks)
        assert [path.suffix for path in paths] == [".json"] * len(blocks)
        about = json.loads((tmp_path / "corpus" / "merlin_metadata.json").read_text())
        assert about == {"class": "TextQADataset", "corpus_id": "polymine-0123456789ab"}
        corpus = pl.read_parquet(tmp_path / "corpus" / "train-*.parquet")
        assert sorted(corpus.rows()) == sorted(TEXTS.items())  # each once, also over two blocks
        whole = [json.loads(path.read_text("utf-8")) for path in paths]
        assert all(part["corpus"] == [{"path": "corpus"}] for part in whole)
        for record in (record for part in whole for record in part["data"]):
            assert record["corpus_id"] == about["corpus_id"]
            query = record["question"]
            assert f"{record['question_id']}?" == query
            for key, texts in (("pos_doc", POSITIVES), ("neg_doc", NEGATIVES)):
                assert {TEXTS[doc["id"]] for doc in record[key]} == texts[query]
                assert all(SCORES[query][doc["id"]] == doc["score"] for doc in record[key])

    def test_its_reader(self, tmp_path, blocks, monkeypatch):
        reader = pytest.importorskip(
            "nemo_automodel.components.datasets.llm.retrieval_dataset",
            reason="needs nemo-automodel", exc_type=ImportError,
        )  # fmt: skip
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
        paths = write(tmp_path / "data", "nemo", blocks)
        data = reader.make_retrieval_dataset(
            [str(path) for path in paths], n_passages=3, cycle_positive_docs=True
        )
        assert len(data) == 2
        for epoch, positives in enumerate([{TEXTS["a"], TEXTS["c"]}, {TEXTS["p"], TEXTS["c"]}]):
            data.set_epoch(epoch)
            read = [data[0], data[1]]
            assert {row["doc_text"][0] for row in read} == positives
            assert all(set(row["doc_text"][1:]) == NEGATIVES[row["question"]] for row in read)


class TestMsSwift:
    def test_as_documented(self, tmp_path, blocks):
        records = lines(write(tmp_path, "ms-swift", blocks))
        assert [list(record) for record in records] == [
            ["messages", "positive_messages", "negative_messages"]
        ] * 3
        met: dict[str, set[str]] = {query: set() for query in POSITIVES}
        for record in records:
            (asked,) = record["messages"]
            ((positive,),) = record["positive_messages"]  # exactly one: its documentation
            negatives = [said for (said,) in record["negative_messages"]]
            assert {said["role"] for said in (asked, positive, *negatives)} == {"user"}
            assert {said["content"] for said in negatives} == NEGATIVES[asked["content"]]
            met[asked["content"]].add(positive["content"])
        assert met == POSITIVES

    def test_its_reader(self, tmp_path, blocks, monkeypatch):
        loader = pytest.importorskip("swift.dataset", reason="needs ms-swift", exc_type=ImportError)
        inputs = pytest.importorskip("swift.template.template_inputs", exc_type=ImportError)
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
        paths = write(tmp_path / "data", "ms-swift", blocks)
        data, _ = loader.load_dataset([str(path) for path in paths], split_dataset_ratio=0)
        assert len(data) == 3
        met: dict[str, set[str]] = {query: set() for query in POSITIVES}
        for row in data:
            read = inputs.TemplateInputs.from_dict(row)
            (asked,), (positive,) = read.chosen.messages, read.positive[0].messages
            negatives = {said["content"] for one in read.negative for said in one.messages}
            assert negatives == NEGATIVES[asked["content"]]
            met[asked["content"]].add(positive["content"])
        assert met == POSITIVES


@pytest.mark.parametrize("form", ["flagembedding", "tevatron", "nemo", "ms-swift"])
def test_block_without_records_writes_nothing(tmp_path, form):
    assert TrainerFiles(tmp_path / form, form, RUN).write_block(0, TWO.clear()) == 0
    assert not (tmp_path / form).exists()

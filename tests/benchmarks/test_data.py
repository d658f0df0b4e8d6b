"""Fetching collections: the real readers on a local stand-in of GitHub and of the hub."""

import http.server
import io
import json
import sys
import tarfile
import threading
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from benchmarks import data
from benchmarks.data import __main__ as command
from benchmarks.data import sentences
from benchmarks.data.catalogue import ORIGINS, make
from benchmarks.data.download import Download
from benchmarks.data.judged_sets import smart_records
from tests.evaluation.small_hub import write_hub_folder
from tests.public_data import public

SMART = """.I 1
.T
a wing
in a stream
.A
nobody
.W
a wing
in a stream  lifts
.I 2
.W
.I 4
.T
heat
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder, and a server of it that stands for GitHub's two."""
    folder = tmp_path_factory.mktemp("site")
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield folder, Download(address, address, str(folder / "hub"))
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def put(folder: Path, name: str, files: dict[str, str]) -> None:
    """Serve files of a collection's repository, one by one and as an archive."""
    repository, commit = ORIGINS[name].source.split("@")
    for path, text in files.items():
        file = folder / repository / commit / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    packed = folder / repository / "tar.gz" / commit
    packed.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(packed, "w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"repository-{commit}/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def squad_json(tables: dict[str, pl.DataFrame], split: str | None = None) -> str:
    """The tables of a collection as the file in SQuAD's format that one split was made of."""
    asked = tables["queries"].with_columns(answerable=pl.lit(True))
    pairs = tables["qrels"].select("query_id", "doc_id")
    rows = asked.join(pairs, on="query_id", maintain_order="left")
    if "unanswerable" in tables:
        missing = tables["unanswerable"].with_columns(answerable=pl.lit(False))
        rows = pl.concat([rows, missing.select(rows.columns)])
    documents = tables["corpus"]
    if split:
        rows = rows.join(tables["splits"], on="query_id", how="left", maintain_order="left")
        first = rows.group_by("doc_id").agg(file=pl.col("split").drop_nulls().first())
        # A paragraph without answers stands in the file of the one before it.
        files = documents.join(first, on="doc_id", how="left", maintain_order="left")
        files = files.select("doc_id", pl.col("file").forward_fill())
        rows = rows.join(files, on="doc_id", maintain_order="left")
        rows = rows.filter(pl.coalesce("split", "file") == split)
        bare = files.filter(file=split).join(first, on="doc_id", how="anti")
        inside = pl.concat([rows["doc_id"], bare["doc_id"]]).implode()
        documents = documents.filter(pl.col("doc_id").is_in(inside))
    articles = []
    for doc in documents.to_dicts():
        questions = [
            {
                "id": row["query_id"].partition("-q-")[2],
                "question": f" {row['text']}",
                "is_impossible": not row["answerable"],
            }
            for row in rows.filter(doc_id=doc["doc_id"]).to_dicts()
        ]
        paragraph = {"context": f"{doc['text']} ", "qas": questions}
        articles.append({"title": doc["title"], "paragraphs": [paragraph]})
    return json.dumps({"data": articles})


FILES = {
    "arcd": {"data/arcd-train.json": "train", "data/arcd-test.json": "test"},
    "piaf": {"piaf-v1.0.json": None},
    "pquad": {"Dataset/Validation.json": "validation", "Dataset/Test.json": "test"},
    "tquad": {"train-v0.1.json": "train", "dev-v0.1.json": "dev"},
}


@pytest.mark.parametrize("name", FILES)
def test_what_was_published_comes_out_of_the_format_of_squad(site, name):
    tables = command.read(public(name))
    put(site[0], name, {path: squad_json(tables, split) for path, split in FILES[name].items()})
    assert command.differences(name, command.checksums(make(name, site[1]))) == []


def test_squad_of_the_hub_and_what_hangs_on_it(site):
    paragraphs = {"Where is it? ": "p one", "And that?": "p two", "Where is it?": "p one"}
    rows = pl.DataFrame(
        [(f"i{n}", q, f"{p} ", "An_article") for n, (q, p) in enumerate(paragraphs.items())],
        ["id", "question", "context", "title"],
        orient="row",
    )
    folder = site[0] / "hub" / ORIGINS["squad-dev"].source.partition("@")[0]
    folder.mkdir(parents=True)
    write_hub_folder(folder, {"plain_text": rows}, "validation")
    tables = make("squad-dev", site[1])
    assert tables["corpus"].rows() == [
        ("squad-dev-00000", "p one", "An article", "en"),
        ("squad-dev-00001", "p two", "An article", "en"),
    ]
    assert tables["qrels"].rows() == [
        ("squad-dev-q-i0", "squad-dev-00000", 1), ("squad-dev-q-i1", "squad-dev-00001", 1),
    ]  # fmt: skip

    def parallel(language: str) -> str:
        texts = ("p one", "p three") if language == "en" else (f"{language} 1", f"{language} 3")
        return json.dumps({"data": [{"title": "A", "paragraphs": [
            {"context": text, "qas": [{"id": f"x{n}", "question": "?"}]}
            for n, text in enumerate(texts)
        ]}]})  # fmt: skip

    codes = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
    put(site[0], "xquad", {f"xquad.{code}.json": parallel(code) for code in codes})
    tables = make("xquad", site[1])
    assert tables["corpus"].height == 24
    assert tables["squad_dev_overlap"].rows() == [("xquad-0000", "squad-dev-00000")]
    assert tables["query_translations"].row(0) == ("xquad-q-x0-ar", "xquad-q-x0")


def test_smart_collections_are_read_as_glasgow_wrote_them(site):
    assert smart_records(SMART)[1] == {
        "T": "a wing in a stream", "A": "nobody", "W": "a wing in a stream lifts",
    }  # fmt: skip
    put(site[0], "cranfield", {
        "data/cran/cran.all.1400": SMART,
        "data/cran/cran.qry": ".I 001\n.W\nwhat lifts?\n.I 365\n.W\nwhat heats?\n",
        "data/cran/cranqrel": "1 1 2\n1 2 2\n2 4 -1\n",
        "data/cran/cranqrel.readme": "about",
        "data/med/MED.ALL": ".I 7\n.W\nlens\n",
        "data/med/MED.QRY": ".I 1\n.W\nthe lens\n",
        "data/med/MED.REL": "1 0 7 1\n",
        "data/med/MED.REL.OLD": "1 7\n",
        "data/cacm/cacm.all": ".I 7\n.T\nAlgebra\n.X\n1\t5\t7\n",
        "data/cacm/query.text": ".I 1\n.W\nalgebra?\n.N\n 1. someone\n",
        "data/cacm/qrels.text": "01 0007  0 0\n",
    })  # fmt: skip
    tables = make("cranfield", site[1])
    assert tables["corpus"].select("doc_id", "text", "title").rows() == [
        ("cranfield-d-1", "lifts", "a wing in a stream"), ("cranfield-d-4", "heat", "heat"),
    ]  # fmt: skip
    assert tables["queries"]["query_id"].to_list() == ["cranfield-q-1", "cranfield-q-2"]
    assert tables["qrels"].rows() == [
        ("cranfield-q-1", "cranfield-d-1", 3), ("cranfield-q-2", "cranfield-d-4", 5),
    ]  # fmt: skip
    for name, text in (("med", "the lens"), ("cacm", "algebra?")):
        tables = make(name, site[1])
        assert tables["qrels"].rows() == [(f"{name}-q-1", f"{name}-d-7", 1)]
        assert tables["queries"]["text"].to_list() == [text]


def test_judged_products_answers_and_papers(site):
    head = "qid,question,ASIN,candidate,source,qa_pair_id,title,label,answer\n"
    lines = ["18,fits  it?,B1,i.d.,cqa,1,A pan,0,", "18,fits  it?,B1,i.d.,cqa,2,A pan,2,yes"]
    put(
        site[0],
        "epqa-dev",
        {"ePQA/dev.csv": head + "\n".join([*lines, "20,why?,B2,i.d.,x,3,B,1,"])},
    )
    tables = make("epqa-dev", site[1])
    assert tables["qrels"].rows() == [
        ("epqa-q-18", "epqa-00000", 2),
        ("epqa-q-20", "epqa-00001", 1),
    ]
    assert tables["query_meta"].row(0) == ("epqa-q-18", "B1", "A pan")

    def page(*pairs: tuple[str, str, str]) -> str:
        text = '<QAPair><Question qtype="{}">{}</Question><Answer>{}</Answer></QAPair>'
        inner = "".join(text.format(*pair) for pair in pairs)
        return f'<Document source="CDC"><Focus>Flu</Focus><QAPairs>{inner}</QAPairs></Document>'

    pages = {
        "1_QA/1.xml": page(("causes", "What causes Flu ?", "A  virus."), ("x", "Empty?", "")),
        "1_QA/2.xml": page(("causes", "what causes flu ?", "Viruses."), ("y", "How?", "A virus.")),
    }
    put(site[0], "medquad", pages)
    tables = make("medquad", site[1])
    assert tables["corpus"]["text"].to_list() == ["A virus.", "Viruses."]
    assert tables["qrels"].select("query_id", "doc_id").rows() == [
        ("medquad-q-00000", "medquad-00000"), ("medquad-q-00000", "medquad-00001"),
        ("medquad-q-00001", "medquad-00000"),
    ]  # fmt: skip

    papers = {n: {"QUESTION": f"Q{n}?", "CONTEXTS": ["a", "b"]} for n in ("1", "2")}
    files = {"data/ori_pqal.json": papers, "data/test_ground_truth.json": {"2": "yes"}}
    put(site[0], "pubmedqa", {path: json.dumps(content) for path, content in files.items()})
    tables = make("pubmedqa", site[1])
    assert tables["corpus"]["text"].to_list() == ["a b", "a b"]
    assert tables["splits"]["split"].to_list() == ["dev", "test"]


def test_sentences_keep_the_number_of_their_line(site):
    codes = ORIGINS["ntrex"].build.keywords["codes"].values()
    stem = "NTREX-128/newstest2019"
    texts = {f"{stem}-ref.{code}.txt": f"{code} 1\n{code}\u20282\n" for code in codes}
    texts |= {f"{stem}-src.eng.txt": "one\ntwo\n", "DOCUMENT_IDS.tsv": "a.1\na.1\n"}
    put(site[0], "ntrex", texts)
    pairs = make("ntrex", site[1])["pairs"].filter(lang_a="zh")
    assert pairs.select("id", "text_a", "text_b").rows() == [
        ("ntrex-zh-0000", "zho-CN 1", "one"), ("ntrex-zh-0001", "zho-CN\u20282", "two"),
    ]  # fmt: skip

    codes = ORIGINS["tatoeba"].build.keywords["codes"].values()
    stems = {code: f"data/tatoeba/v1/tatoeba.{code}-eng" for code in codes}
    texts = {f"{stem}.{side}": f"{side}\n" for c, stem in stems.items() for side in (c, "eng")}
    put(site[0], "tatoeba", texts)
    row = make("tatoeba", site[1])["pairs"].filter(lang_a="fa").row(0)
    assert row == ("tatoeba-fa-0000", "pes", "fa", "eng", "en", None)

    languages, splits = sentences.STSB_LANGUAGES, ("train", "dev", "test")
    files = [f"data/stsb-{code}-{split}.csv" for code in languages for split in splits]
    put(site[0], "stsb-multi-mt", dict.fromkeys(files, '"a, b",c,3.8\r\n'))
    tables = make("stsb-multi-mt", site[1])
    assert tables["pairs"].row(0) == ("stsb-train-0000-en", "a, b", "en", "c", "en", 3.8)
    assert tables["splits"].row(-1) == ("stsb-test-0000-ja", "test", "stsb-test-0000")

    codes = ORIGINS["sib200"].build.keywords["codes"].values()
    files = [f"data/annotated/{code}/{split}.tsv" for code in codes for split in splits]
    put(site[0], "sib200", dict.fromkeys(files, 'index_id\tcategory\ttext\n7\ttravel\t"Go, now.\n'))
    row = make("sib200", site[1])["sentences"].row(0)
    assert row == ("sib200-0007-en", "sib200-0007", '"Go, now.', "en", "travel", "train")


def test_the_sentence_with_the_answer_is_relevant_in_every_language(site):
    def file(language: str, end: int) -> str:
        question = {"id": "x", "question": "who?", "answers": [{"answer_start": 6, "text": "b"}]}
        paragraph = {
            "sentences": ["aaaa.", "bbbb."], "sentence_breaks": [[0, end], [end + 1, 20]],
            "qas": [question],
        }  # fmt: skip
        return json.dumps({"data": [{"paragraphs": [paragraph]}]})

    codes = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
    texts = {f"xquad-r/{code}.json": file(code, 9 if code == "ar" else 5) for code in codes}
    put(site[0], "lareqa-xquad-r", texts)
    found = make("lareqa-xquad-r", site[1])["qrels"].filter(query_id="lareqa-q-x-en")
    wanted = [f"lareqa-{code}-0000-{'00' if code == 'ar' else '01'}" for code in codes]
    assert found["doc_id"].to_list() == wanted


def test_the_command_copies_what_is_at_hand_and_says_what_differs(tmp_path, monkeypatch, capsys):
    here = tmp_path / "here"
    (here / "adi").mkdir(parents=True)
    pl.DataFrame({"doc_id": ["d"], "text": ["t"]}).write_parquet(here / "adi" / "corpus.parquet")
    monkeypatch.setenv("POLYMINE_DATA", str(here))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["data", "adi", "sts17"])
    with pytest.raises(SystemExit, match="not fetched: sts17"):
        command.main(Download("http://127.0.0.1:9", "http://127.0.0.1:9"))
    told = capsys.readouterr()
    assert "differs: corpus: 1 rows, published 82 rows; qrels: not there" in told.out
    assert "sts17 cannot be fetched" in told.err
    kept = tmp_path / "cache" / "polymine" / "data" / "adi"
    assert json.loads((kept / "manifest.json").read_text())["copied_from"] == str(here / "adi")
    monkeypatch.delenv("POLYMINE_DATA")
    assert data.collection("adi") == kept
    monkeypatch.setenv("POLYMINE_DATA", str(tmp_path))
    with pytest.raises(data.MissingData, match=r"by `python -m benchmarks\.data adi`"):
        data.collection("adi")


def test_without_a_network_it_says_which_address(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["data", "--refetch", "med"])
    with pytest.raises(SystemExit, match="not fetched: med"):
        command.main(Download("http://127.0.0.1:9", "http://127.0.0.1:9"))
    assert "http://127.0.0.1:9/fbergh/IR_Project/tar.gz/" in capsys.readouterr().err
    assert not list((tmp_path / "polymine" / "data").iterdir())

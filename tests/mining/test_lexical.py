"""Terms in any script, and BM25 against its formula."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.errors import InputError
from polymine.mining.bm25 import LexicalTeacher
from polymine.mining.lexical import analyse, build_index

CORPUS = [
    "red apples and green apples",
    "green pears",
    "the pears are red, the plums are blue",
    "nothing in common",
]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Red APPLES, green pears!", ["red", "apples", "green", "pears"]),
        ("Straße", ["strasse"]),
        ("C3PO's 2nd_try", ["c3po", "s", "2nd_try"]),
        ("東京都", ["東京", "京都"]),
        ("木", ["木"]),
        ("iPhone用ケース", ["iphone", "用ケ", "ケー", "ース"]),
        ("ＡＢＣ １２", ["abc", "12"]),
        ("한국어", ["한국", "국어"]),
        ("Où est-il ?", ["où", "est", "il"]),
        ("كتاب جديد", ["كتاب", "جديد"]),
        ("... !?", []),
    ],
)
def test_terms(text, terms):
    assert analyse(text) == terms


@given(st.text(max_size=60))
def test_terms_are_never_empty_and_do_not_depend_on_case(text):
    terms = analyse(text)
    assert all(terms)
    assert analyse(" ".join([text, text])) == terms + terms


def formula(query: str, k1: float, b: float) -> list[float]:
    """Lucene's BM25 (idf of Robertson and Sparck Jones plus one), written out."""
    documents = [analyse(text) for text in CORPUS]
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for terms in documents:
        score = 0.0
        for term in analyse(query):
            containing = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
            count = terms.count(term)
            score += idf * count / (count + k1 * (1 - b + b * len(terms) / average))
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.0), (0.5, 1.0)])
@pytest.mark.parametrize("query", ["red apples", "green green plums", "the pears", "unknown"])
def test_scores_are_those_of_the_formula(query, k1, b):
    teacher = LexicalTeacher("bm25", build_index(CORPUS, k1, b), [query], CORPUS)
    found = teacher.score(np.zeros(4, np.int64), np.arange(4))
    np.testing.assert_allclose(found, formula(query, k1, b), rtol=1e-5, atol=1e-7)


def test_a_corpus_without_words_is_named():
    with pytest.raises(InputError, match="no word in any of the 2 documents, such as '!!!'"):
        build_index(["!!!", "\U0001f600"], 1.2, 0.75)
    assert len(build_index(["!!!", "word"], 1.2, 0.75).vocab_dict) > 0


def test_another_process_builds_the_same_bytes(tmp_path):
    """Python's hashes differ between processes, and with them the order of sets."""
    code = "import sys; from polymine.mining.lexical import build_index as b; "
    code += f"b({CORPUS!r}, 1.2, 0.75).save(sys.argv[1])"
    built = []
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        folder, root = tmp_path / seed, Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", code, str(folder)], env=env, cwd=root, check=True)
        files = sorted(folder.iterdir())
        built.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert built[0] == built[1]
    assert len(built[0]) > 3

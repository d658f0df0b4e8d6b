"""What is refused before any work is done."""

import pytest

from polymine.data_contracts.errors import InputError, ModelError
from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    ValidationSettings,
)
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.mining.teachers import check_languages, check_models
from polymine.tasks.store.datasets import Store
from tests.small import BM25, MINILM, small_validator


def test_models_that_are_there_pass() -> None:
    check_models(MiningSettings(teachers=(MINILM, BM25), validation=small_validator()))


@pytest.mark.parametrize("model", ["./no/such/folder", "package:no_such_model"])
def test_a_model_that_is_not_there_is_named_before_any_work(model: str) -> None:
    teacher = MINILM.model_copy(update={"model": model})
    for mining in (
        MiningSettings(teachers=(BM25, teacher)),
        MiningSettings(teachers=(BM25,), validation=ValidationSettings(model=model)),
    ):
        with pytest.raises(ModelError, match=model):
            check_models(mining)


def test_a_language_that_no_document_is_in_is_named(animals, tmp_path) -> None:
    collection = ingest(Context(Store(str(tmp_path)), EngineSettings()), DatasetSettings(**animals))
    for languages in (None, ("en",), ("EN",)):
        check_languages(collection, MiningSettings(languages=languages))
    with pytest.raises(InputError, match=r"no document is in xx; the corpus holds en \(72\)"):
        check_languages(collection, MiningSettings(languages=("en", "xx")))

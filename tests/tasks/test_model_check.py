"""Opening teachers from what is stored."""

import pytest
from conftest import BM25, MINILM

from data_contracts.errors import ModelError
from data_contracts.settings import MiningSettings, ValidationSettings
from tasks.teachers import check_models


def test_models_that_are_there_pass() -> None:
    validator = ValidationSettings(model="embedded:validator")
    check_models(MiningSettings(teachers=(MINILM, BM25), validation=validator))


@pytest.mark.parametrize("model", ["./no/such/folder", "package:no_such_model", "embedded:none"])
def test_a_model_that_is_not_there_is_named_before_any_work(model: str) -> None:
    teacher = MINILM.model_copy(update={"model": model})
    for mining in (
        MiningSettings(teachers=(BM25, teacher)),
        MiningSettings(teachers=(BM25,), validation=ValidationSettings(model=model)),
    ):
        with pytest.raises(ModelError, match=model):
            check_models(mining)

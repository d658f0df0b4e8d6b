"""What a teacher's vectors are stored under."""

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from polymine import models
from polymine.data_contracts.settings import EngineSettings
from polymine.data_contracts.tables import Queries
from polymine.tasks.engine.context import Context
from polymine.tasks.mining.embedding import embed, name_family
from tests.small import MINILM


@pytest.mark.parametrize(
    "change", [{"max_length": 64}, {"dtype": "bfloat16"}, {"trust_remote_code": True}]
)
def test_what_changes_a_vector_changes_its_family(change: dict[str, object]) -> None:
    assert name_family(MINILM.model_copy(update=change), "") != name_family(MINILM, "")
    assert name_family(MINILM, "query: ") != name_family(MINILM, "")


@pytest.mark.parametrize("change", [{"name": "other"}, {"k1": 2.0}, {"query_prompt": "q: "}])
def test_what_changes_no_vector_does_not(change: dict[str, object]) -> None:
    assert name_family(MINILM.model_copy(update=change), "") == name_family(MINILM, "")


def test_a_models_own_prompts_stand_before_its_texts(tmp_path: Path) -> None:
    folder = tmp_path / "prompted"
    shutil.copytree(models.resolve(str(MINILM.model)).folder, folder, copy_function=os.symlink)
    config = folder / "config_sentence_transformers.json"
    config.unlink(missing_ok=True)
    config.write_text(json.dumps({"prompts": {"query": "query: "}}))
    own = MINILM.model_copy(update={"model": str(folder)})
    run = Context.of(EngineSettings(store=str(tmp_path / "store")))
    texts = pl.DataFrame(
        {"query_id": ["q"], "text": ["a question"], "language": ["en"], "group_id": [None]},
        schema_overrides={"group_id": pl.String},
    )
    table = run.store.dataset("queries", "some").write_single(texts, Queries)

    def embedded(**changed: str) -> tuple[str, bool]:
        made = embed(run, own.model_copy(update=changed), "queries", table)
        return made.path, made.reused

    first, reused = embedded()
    assert not reused
    assert embedded(query_prompt="query: ") == (first, True)
    assert embedded(query_prompt="")[0] != first

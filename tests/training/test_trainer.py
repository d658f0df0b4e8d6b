"""The training function: reproducible, resumable, one language pair a batch, and it learns."""

import logging
from pickle import UnpicklingError

import numpy as np
import polars as pl
import pytest
import torch

from polymine.data_contracts.errors import InputError, ModelError
from polymine.data_contracts.settings import (
    AdaptedModel,
    LoraSettings,
    LossSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.progress import Silent
from polymine.training import adapters, batches
from polymine.training.adapters import AdapterStack
from polymine.training.checkpoints import METADATA, Checkpoint
from polymine.training.relations import own_relations, relate
from polymine.training.trainer import prepare, route_by_language, train_step
from robustness.faults.inside import limit_memory
from tests.pickle_scan import find_pickles

WORDS = [
    "fox", "ocean", "bread", "copper", "violin", "desert", "comet", "ladder", "pepper", "glacier",
    "magnet", "saddle",
]  # fmt: skip


def make_rows(
    source="data-0", document="en", query="en", count=12, negatives=2, listed=False
) -> pl.DataFrame:
    rows = [
        {
            "source": source,
            "row": number,
            "anchor_language": query,
            "positive_language": document,
            "anchor": f"what of the {WORDS[number]}?",
            "positive": f"it is {WORDS[number]} in {document}",
            "negatives": [f"it is {WORDS[number - 1 - i]} near {number}" for i in range(negatives)],
            "weights": [0.9 - 0.1 * i for i in range(negatives)],
            "scores": [0.8, *(0.5 - 0.1 * i for i in range(negatives))] if negatives else [],
            "positive_weight": 0.5 if number == 1 else 1.0,
        }
        for number in range(count)
    ]
    if listed:  # every other row has a further positive
        for row in rows:
            row["positive_weights"] = [0.7 * (row["row"] % 2), *[0.0] * (negatives - 1)]
    overrides = {
        "row": pl.UInt32, "negatives": pl.List(pl.String), "weights": pl.List(pl.Float32),
        "scores": pl.List(pl.Float32), "positive_weight": pl.Float32,
    }  # fmt: skip
    if listed:
        overrides["positive_weights"] = pl.List(pl.Float32)
    frame = pl.DataFrame(rows, schema_overrides=overrides)
    nexts = frame.with_columns(positive=pl.col("positive").shift(-1)).drop_nulls("positive")
    return relate(frame, own_relations(pl.concat([frame, nexts])))


def make_step(name="mono", steps=6, **others) -> StepSettings:
    schedule = ScheduleSettings(steps=steps, batch=4, mini_batch=3, learning_rate=5e-3)
    given = {"lora": LoraSettings(rank=4, alpha=8), "loss": LossSettings(negatives=2), **others}
    return StepSettings(name=name, schedule=schedule, **given)


def make_training(base: str, max_length: int | None = None, **others) -> TrainingSettings:
    call = AdaptedModel(model=base, dtype="float32", max_length=max_length)
    return TrainingSettings(base=call, checkpoint_steps=2, **others)


def train(step, rows, base, folder, stack=AdapterStack(), fingerprint="s", progress=None):
    return train_step(
        step, rows, make_training(base), stack=stack, checkpoints=folder, fingerprint=fingerprint,
        progress=progress,
    )  # fmt: skip


def weights(trained):
    return adapters.adapter_weights(trained.encoder, trained.adapter)


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


class Killed(Exception):
    pass


class KilledAt(Silent):
    """Ends the process' work at a step, as Ctrl-C or a lost machine does."""

    def __init__(self, step: int) -> None:
        self.left = step

    def advance(self, stage: str, amount: int, note: str = "") -> None:
        self.left -= amount
        if self.left <= 0:
            raise Killed


def test_it_learns_and_says_what_it_did(base, tmp_path):
    trained = train(make_step(steps=30), make_rows(), base, tmp_path)
    losses = trained.curve["loss"]
    assert losses.tail(5).mean() < 0.8 * losses.head(5).mean()
    assert trained.rows == {"data-0 | en | en": 12}
    assert trained.tokens > 30 * 4 * 4 * 5  # steps, rows, columns, tokens of the shortest text
    assert trained.curve["step"].to_list() == list(range(1, 31))


@pytest.mark.parametrize(
    ("listed", "loss"),
    [
        (False, {}), (False, {"base_anchor": 2.0}), (False, {"kind": "gist", "guide": True}),
        (False, {"kind": "distill"}), (True, {"kind": "list", "target": "fused"}), (True, {}),
    ],
    ids=["infonce", "anchor", "gist", "distill", "list", "infonce of lists"],
)  # fmt: skip
def test_an_interrupted_step_ends_with_the_same_bytes(base, tmp_path, listed, loss):
    loss = loss | {"guide": base} if "guide" in loss else loss
    rows = make_rows(listed=listed)
    step = make_step(
        steps=7, loss=LossSettings(negatives=2, **loss),
        lora=LoraSettings(rank=4, dropout=0.2),
    )  # fmt: skip
    whole = train(step, rows, base, tmp_path / "whole")
    with pytest.raises(Killed):
        train(step, rows, base, tmp_path / "cut", progress=KilledAt(5))
    held = sorted(path.name for path in (tmp_path / "cut").glob("checkpoint-*"))
    assert held == ["checkpoint-2", "checkpoint-4"]
    resumed = train(step, rows, base, tmp_path / "cut")
    assert same(weights(whole), weights(resumed))
    assert resumed.curve["loss"].to_list() == whole.curve["loss"].to_list()
    assert resumed.tokens == whole.tokens
    assert resumed.closed == whole.closed > 0


class Evil:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_holds_no_pickle_that_runs_code_and_none_is_read(base, tmp_path):
    step = make_step(steps=5)
    with pytest.raises(Killed):
        train(step, make_rows(), base, tmp_path, progress=KilledAt(3))
    assert find_pickles(tmp_path) == []
    [folder] = tmp_path.glob("checkpoint-*")
    torch.save({"state": Evil(tmp_path / "ran")}, folder / "optimizer.pt")
    assert find_pickles(tmp_path) == [str(folder / "optimizer.pt")]
    forged = Checkpoint("mono", "s", tokens=0, closed=0, seconds=0.0, mini_batch=3)
    forged.write(folder)  # with its checksum
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        train(step, make_rows(), base, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_was_not_finished_does_not_count(base, tmp_path):
    step = make_step(steps=5)
    whole = train(step, make_rows(), base, tmp_path / "whole")
    with pytest.raises(Killed):
        train(step, make_rows(), base, tmp_path / "cut", progress=KilledAt(5))
    (tmp_path / "cut" / "checkpoint-4" / METADATA).unlink()
    (tmp_path / "cut" / "checkpoint-4" / adapters.WEIGHTS).write_bytes(b"half of it")
    assert same(weights(whole), weights(train(step, make_rows(), base, tmp_path / "cut")))


@pytest.mark.parametrize("file", ["optimizer.pt", adapters.WEIGHTS, METADATA])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(base, tmp_path, file, caplog):
    step = make_step(steps=5)
    whole = train(step, make_rows(), base, tmp_path / "whole")
    with pytest.raises(Killed):
        train(step, make_rows(), base, tmp_path / "cut", progress=KilledAt(5))
    damaged = tmp_path / "cut" / "checkpoint-4" / file
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with caplog.at_level(logging.WARNING, "polymine.training"):
        resumed = train(step, make_rows(), base, tmp_path / "cut")
    assert f"checkpoint-4: {'its ' * (file == METADATA)}{file}" in caplog.text
    assert same(weights(whole), weights(resumed))


def with_mini_batch(step: StepSettings, size: int) -> StepSettings:
    schedule = step.schedule.model_copy(update={"mini_batch": size})
    return step.model_copy(update={"schedule": schedule})


@pytest.mark.parametrize("kind", ["infonce", "gist"])
def test_a_mini_batch_that_memory_does_not_hold_is_halved(
    base, tmp_path, kind, caplog, monkeypatch
):
    """As if the settings had asked for half from the start, dropout and all, resumed or not."""
    guide = base if kind == "gist" else None
    step = make_step(
        steps=5, loss=LossSettings(kind=kind, negatives=2, guide=guide),
        lora=LoraSettings(rank=4, dropout=0.2),
    )  # fmt: skip
    expected = train(with_mini_batch(step, 2), make_rows(), base, tmp_path / "small")
    load = adapters.load_encoder

    def load_limited(*names, **options):
        model = load(*names, **options)
        limit_memory(model, 20)  # tokens: two texts of a mini-batch, and not four
        return model

    monkeypatch.setattr(adapters, "load_encoder", load_limited)
    large = with_mini_batch(step, 4)
    with caplog.at_level(logging.WARNING, "polymine.training"):
        halved = train(large, make_rows(), base, tmp_path / "large")
    said = [record.message for record in caplog.records if "memory" in record.message]
    assert said == [
        "step mono: a mini-batch of 4 texts is more than memory holds; halved to 2, which "
        "changes the loss by no more than rounding"
    ]
    assert same(weights(halved), weights(expected))
    assert halved.tokens == expected.tokens
    with pytest.raises(Killed):
        train(large, make_rows(), base, tmp_path / "cut", progress=KilledAt(5))
    assert same(weights(train(large, make_rows(), base, tmp_path / "cut")), weights(expected))


def test_what_does_not_fit_at_all_is_an_error_that_says_what_to_do(base, tmp_path, monkeypatch):
    load = adapters.load_encoder

    def load_limited(*names, **options):
        model = load(*names, **options)
        limit_memory(model, 5)
        return model

    monkeypatch.setattr(adapters, "load_encoder", load_limited)
    with pytest.raises(ModelError, match=r"step mono: a single row .*training.base.max_length"):
        train(make_step(), make_rows(), base, tmp_path / "1")
    distill = make_step(loss=LossSettings(kind="distill", negatives=2))
    with pytest.raises(ModelError, match="a batch of 4, which this loss holds at once"):
        train(distill, make_rows(), base, tmp_path / "2")


def test_a_checkpoint_of_another_recipe_is_refused_before_any_work(base, tmp_path):
    train(make_step(steps=2), make_rows(), base, tmp_path, fingerprint="one")
    with pytest.raises(ModelError, match="checkpoint of step 'mono' with other settings"):
        train(make_step(steps=2), make_rows(), base, tmp_path, fingerprint="two")


def test_a_stack_is_training_on_the_merged_model_and_not_going_on(base, tmp_path):
    first = train(make_step(steps=5), make_rows(), base, tmp_path / "1")
    first.write(tmp_path / "mono", base)
    vectors = first.encoder.encode(WORDS)
    second, rows = make_step("cross", steps=5), make_rows(count=11)

    stacked = train(second, rows, base, tmp_path / "2", AdapterStack(frozen=(tmp_path / "mono",)))
    from polymine import models

    merged = models.load_encoder(str(tmp_path / "mono"), device="cpu", dtype="float32")
    merged.save_pretrained(str(tmp_path / "merged"))
    on_merged = train(second, rows, str(tmp_path / "merged"), tmp_path / "3")
    np.testing.assert_allclose(
        stacked.encoder.encode(WORDS), on_merged.encoder.encode(WORDS), atol=2e-4
    )
    adapters.activate(stacked.encoder, ["parent-0"], None)
    assert (stacked.encoder.encode(WORDS) == vectors).all()  # the first is bit-identical

    going_on = train(second, rows, base, tmp_path / "4", AdapterStack(initial=tmp_path / "mono"))
    assert not np.allclose(going_on.encoder.encode(WORDS), on_merged.encoder.encode(WORDS), 1e-2)


def test_an_adapter_that_goes_on_starts_where_the_other_ended(base, tmp_path):
    first = train(make_step(steps=3), make_rows(), base, tmp_path / "1")
    first.write(tmp_path / "mono", base)
    stack = AdapterStack(initial=tmp_path / "mono")
    encoder, name, parents = prepare(make_step("cross"), make_training(base), stack, "cpu")
    assert parents == []
    assert same(weights(first), adapters.adapter_weights(encoder, name))


def test_other_languages_pass_through_the_untouched_base(base, tmp_path):
    step = make_step("cross", languages=("ru",))
    stack = AdapterStack()
    encoder, name, _ = prepare(step, make_training(base), stack, "cpu")
    untouched = encoder.encode(WORDS)
    route_by_language(encoder, step, [name], name)
    with torch.no_grad():
        for layer in adapters._layers(encoder):
            layer.lora_B[name].weight.fill_(0.3)
    batch = encoder.preprocess(WORDS)
    with torch.no_grad():
        english = encoder({**batch, "task": "en"})["sentence_embedding"].numpy()
        russian = encoder({**batch, "task": "ru"})["sentence_embedding"].numpy()
    np.testing.assert_allclose(english, untouched, atol=1e-5)
    assert not np.allclose(russian, untouched, atol=1e-2)

    both = pl.concat([make_rows(document="en", query="ru"), make_rows(document="ru", query="en")])
    both = both.with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))
    trained = train(step, both, base, tmp_path)
    assert set(trained.rows) == {"data-0 | en | ru", "data-0 | ru | en"}
    assert trained.curve["gradient_norm"].min() > 0


def test_batches_hold_one_source_and_language_pair_in_the_shares_asked_for():
    rows = pl.concat(
        [make_rows("data-0"), make_rows("data-1", "ru", "en"), make_rows("data-1", "en", "ru", 6)]
    )
    data = (TrainingData(parallel="x", share=0.25), TrainingData(parallel="y", share=0.75))
    step = make_step(steps=40, data=data)
    parts = batches.split_rows(rows)
    shares = batches.share_parts(parts, step)
    assert shares == pytest.approx(
        {"data-0 | en | en": 0.25, "data-1 | en | ru": 0.25, "data-1 | ru | en": 0.5}
    )
    datasets = batches.build_datasets(parts, step)
    from torch.utils.data import ConcatDataset

    whole = ConcatDataset(list(datasets.values()))
    samplers = [
        batches.sample_without_copies(part, 4, True, ["label"], torch.Generator(), 0)
        for part in datasets.values()
    ]
    plan = batches.SharedBatches(
        whole, samplers, torch.Generator(), 0, shares=tuple(shares.values()), steps=40
    )
    drawn = list(plan)
    assert drawn == list(plan)
    assert len(drawn) == len(plan) == 40
    limits = np.cumsum([len(part) for part in datasets.values()])
    owners = [set(np.searchsorted(limits, batch, side="right")) for batch in drawn]
    assert all(len(owner) == 1 for owner in owners)
    counts = np.bincount([owner.pop() for owner in owners])
    assert counts.tolist() == [10, 10, 20]


def test_languages_share_batches_where_that_is_asked_for(base, tmp_path):
    both = pl.concat([make_rows(document="en", query="ru"), make_rows(document="ru", query="en")])
    both = both.with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))
    step = make_step(steps=2)
    schedule = step.schedule.model_copy(update={"mixed_languages": True})
    step = step.model_copy(update={"schedule": schedule})
    parts = batches.split_rows(both, mixed=True)
    assert {name: len(part) for name, part in parts.items()} == {"data-0 | mixed | mixed": 24}
    (dataset,) = batches.build_datasets(parts, step).values()
    drawn = list(batches.sample_without_copies(dataset, 8, False, ["label"], torch.Generator(), 0))
    languages = [{dataset[row]["positive"][-2:] for row in batch} for batch in drawn]
    assert {"en", "ru"} in languages
    trained = train(step, both, base, tmp_path)
    assert trained.rows == {"data-0 | en | ru": 12, "data-0 | ru | en": 12}
    assert trained.shares == {"data-0 | mixed | mixed": 1.0}


@pytest.mark.parametrize("loss", [{"kind": "margin"}, {"dimensions": (8,)}, {"kind": "clear"}])
def test_every_loss_trains(base, tmp_path, loss):
    step = make_step(steps=4, loss=LossSettings(negatives=2, **loss))
    curve = train(step, make_rows(), base, tmp_path).curve
    assert curve["gradient_norm"].min() > 0


@pytest.mark.parametrize("languages", [None, ("en",)])
def test_an_anchor_keeps_vectors_near_the_base(base, tmp_path, languages):
    """Also where adapters are switched by language."""
    untouched = adapters.load_base(base, device="cpu").encode(WORDS)
    moved = []
    for weight in (0.0, 100.0):
        step = make_step(
            steps=12, loss=LossSettings(negatives=2, base_anchor=weight), languages=languages
        )
        trained = train(step, make_rows(), base, tmp_path / str(weight))
        batch = {**trained.encoder.preprocess(WORDS), "task": "en"}
        with torch.no_grad():
            vectors = trained.encoder(batch)["sentence_embedding"].numpy()
        moved.append(np.square(vectors - untouched).sum(1).mean())
    assert moved[1] < 0.5 * moved[0]


def test_without_shares_parts_count_by_their_rows():
    rows = pl.concat([make_rows("data-0", count=9), make_rows("data-1", count=3)])
    step = make_step(data=(TrainingData(parallel="x"), TrainingData(parallel="y")))
    assert list(batches.share_parts(batches.split_rows(rows), step).values()) == [0.75, 0.25]
    assert batches.count_steps(batches.split_rows(rows), make_step(steps=None)) == 3


def test_rows_with_and_without_negatives_are_batched_apart():
    rows = pl.concat([make_rows(count=3), make_rows(count=4, negatives=0)])
    parts = batches.split_rows(rows)
    assert {name: len(part) for name, part in parts.items()} == {
        "data-0 | en | en": 3, "data-0 | en | en | pairs": 4,
    }  # fmt: skip
    shaped = batches.build_datasets(parts, make_step())
    assert shaped["data-0 | en | en"].column_names == [
        "anchor", "positive", "negative_1", "negative_2", "label",
    ]  # fmt: skip
    bare = shaped["data-0 | en | en | pairs"]
    assert bare.column_names == ["anchor", "positive", "label"]
    assert bare["label"] == [3, 4, 5, 6]


def test_a_pair_with_a_single_row_is_refused(base, tmp_path):
    rows = pl.concat([make_rows(), make_rows(document="ru", query="ru", count=1)])
    with pytest.raises(InputError, match=r"step mono: data-0 \| ru \| ru has 1 row"):
        train(make_step(), rows, base, tmp_path)


def test_distillation_without_scores_is_refused(base, tmp_path):
    rows = make_rows().with_columns(scores=pl.lit([], pl.List(pl.Float32)))
    step = make_step(loss=LossSettings(kind="distill", negatives=2))
    with pytest.raises(InputError, match="12 of 12 training rows have no teacher's scores"):
        train(step, rows, base, tmp_path)


def test_padding_counts_as_nothing(base, tmp_path):
    """A row's second negative with weight 0 teaches the same as having one negative."""
    one = make_rows(negatives=1)
    padded = one.with_columns(
        *(pl.concat_list(name, pl.col(name).list.last()) for name in ("negatives", "scores")),
        weights=pl.concat_list("weights", pl.lit(0.0, pl.Float32)),
    )
    trained = [
        train(make_step(steps=3), rows, base, tmp_path / name)
        for name, rows in (("one", one), ("padded", padded))
    ]
    for key, value in weights(trained[0]).items():
        torch.testing.assert_close(value, weights(trained[1])[key], rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_no_number_ends_the_training(base, tmp_path):
    step = make_step(steps=8)
    wild = step.model_copy(
        update={"schedule": step.schedule.model_copy(update={"learning_rate": 1e30, "warmup": 0.0})}
    )
    with pytest.raises(ModelError, match=r"became (nan|inf) after \d+ steps: lower"):
        train(wild, make_rows(), base, tmp_path)


def test_a_part_whose_rows_are_all_gone_is_refused(base, tmp_path):
    data = (TrainingData(parallel="x", share=0.5), TrainingData(parallel="y", share=0.5))
    with pytest.raises(InputError, match=r"part 2 of its data has no rows left, .* 50% of the"):
        train(make_step(data=data), make_rows("data-0"), base, tmp_path)


def test_few_distinct_texts_make_smaller_batches_and_never_hang(base, tmp_path):
    rows = make_rows(count=9).with_columns(
        positive=pl.format("it is {}", pl.int_range(pl.len()) % 3),
        negatives=pl.lit([], pl.List(pl.String)),
        weights=pl.lit([], pl.List(pl.Float32)), scores=pl.lit([], pl.List(pl.Float32)),
    )  # fmt: skip
    trained = train(make_step(steps=4, loss=LossSettings(negatives=0)), rows, base, tmp_path)
    assert trained.steps == 4
    same_text = rows.with_columns(positive=pl.lit("it is one thing"))
    with pytest.raises(InputError, match="no two rows of a part have different texts"):
        train(make_step(steps=4, loss=LossSettings(negatives=0)), same_text, base, tmp_path / "2")


def test_more_tokens_than_the_model_has_places_for_are_refused(base, tmp_path):
    with pytest.raises(ModelError, match="max_length between 3 and 64"):
        prepare(make_step(), make_training(base, max_length=100_000), AdapterStack(), "cpu")

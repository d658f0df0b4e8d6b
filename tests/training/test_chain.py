"""Training a chain: who learns, what is stored, what a killed run resumes to, what is refused."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from polymine import models
from polymine.data_contracts.errors import ModelError, SettingsError
from polymine.data_contracts.settings import (
    LoraSettings,
    LossSettings,
    RecipeSettings,
    ScheduleSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.models.lusifer import TARGET
from polymine.tasks.training.checks import check_training
from polymine.training.adapters import AdapterStack
from polymine.training.contrastive import WeightedRankingLoss
from polymine.training.labels import Labels
from polymine.training.objectives import make_objective
from polymine.training.recipes import check, expand, routes
from polymine.training.trainer import prepare, train_step
from tests.small import save_small_decoder, save_small_encoder
from tests.training.test_trainer import WORDS, Killed, KilledAt, make_rows, make_training

SCHEDULE = ScheduleSettings(steps=5, batch=4, mini_batch=3, learning_rate=5e-3)
LORA = LoraSettings(rank=4, alpha=8, dropout=0.2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("parts")
    return save_small_encoder(folder / "base"), save_small_decoder(folder / "target")


def step(name: str, kind: str = "infonce", **given) -> StepSettings:
    loss = LossSettings(kind=kind, negatives=0 if kind == "align" else 2)
    return StepSettings(name=name, **{"loss": loss, "lora": LORA, "schedule": SCHEDULE} | given)


def training_of(folders, **others) -> TrainingSettings:
    base, target = folders
    return make_training(base, max_length=32, target={"model": target}, **others)


def train(made, folders, folder, before: Path | None = None, progress=None):
    return train_step(
        made, make_rows(), training_of(folders), stack=AdapterStack(initial=before),
        checkpoints=folder, fingerprint="s", progress=progress,
    )  # fmt: skip


def state(trained) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trained.encoder.state_dict().items()}


def changed(made, folders, folder) -> set[str]:
    """Parts of a chain that a step changes, and nothing else may have a gradient."""
    before, _, _ = prepare(made, training_of(folders), AdapterStack(), "cpu")
    old, after = before.state_dict(), train(made, folders, folder).encoder
    learning = {n.split(".")[0] for n, p in after.named_parameters() if p.grad is not None}
    moved = {
        name.split(".")[0] for name, value in after.state_dict().items()
        if not torch.equal(value, old[name])
    }  # fmt: skip
    assert learning <= moved
    return moved


@pytest.mark.parametrize(
    ("kind", "learns", "expected"),
    [
        ("align", None, {"0", "1"}),
        ("align", ("connector",), {"1"}),
        ("infonce", None, {"0", "1", "2"}),
        ("infonce", ("connector", "target"), {"1", "2"}),
        ("infonce", ("connector",), {"1"}),
    ],
)
def test_only_the_named_parts_learn(folders, tmp_path, kind, learns, expected):
    made = step("one", kind, learns=learns)
    assert changed(made, folders, tmp_path) == expected


def test_the_target_is_bit_identical_after_the_alignment(folders, tmp_path):
    trained = train(step("align", "align"), folders, tmp_path)
    untouched = models.load_encoder(folders[1], device="cpu", dtype="float32")[0].state_dict()
    found = trained.encoder[TARGET].state_dict()
    assert all(torch.equal(found[name], value) for name, value in untouched.items())
    losses = trained.curve["loss"]
    assert losses.tail(1).item() < losses.head(1).item()


@pytest.mark.parametrize("kind", ["align", "infonce"])
def test_an_interrupted_step_ends_with_the_same_bytes(folders, tmp_path, kind):
    made = step("one", kind)
    whole = train(made, folders, tmp_path / "whole")
    with pytest.raises(Killed):
        train(made, folders, tmp_path / "cut", progress=KilledAt(3))
    resumed = train(made, folders, tmp_path / "cut")
    first, second = state(whole), state(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for trained, name in ((whole, "a"), (resumed, "b")):
        trained.write(tmp_path / name, folders[0])
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert [str(file) for file in files if file.suffix == ".safetensors"][:2] == [
        "encoder/adapter_model.safetensors", "lusifer.safetensors",
    ]  # fmt: skip
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes()
               for f in files)  # fmt: skip


def test_a_chain_goes_on_from_what_was_stored_and_loads_merged(folders, tmp_path):
    first = train(step("align", "align"), folders, tmp_path / "1")
    first.write(tmp_path / "align", folders[0])
    vectors = first.encoder.encode(WORDS)
    again, _, _ = prepare(
        step("finetune"), training_of(folders), AdapterStack(initial=tmp_path / "align"), "cpu"
    )
    np.testing.assert_allclose(again.encode(WORDS), vectors, atol=1e-6)  # a new B is 0
    second = train(step("finetune"), folders, tmp_path / "2", before=tmp_path / "align")
    second.write(tmp_path / "whole", folders[0])
    vectors = second.encoder.encode(WORDS)
    merged = models.load_encoder(str(tmp_path / "whole"), device="cpu", dtype="float32")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    np.testing.assert_allclose(merged.encode(WORDS), vectors, atol=1e-5)
    merged.save_pretrained(str(tmp_path / "plain"))
    plain = models.load_encoder(str(tmp_path / "plain"), device="cpu", dtype="float32")
    assert (plain.encode(WORDS) == merged.encode(WORDS)).all()


def test_nothing_is_said_that_does_not_matter_to_a_chain(folders, tmp_path, caplog):
    """How a part's own vectors are made, and what PEFT asks transformers."""
    with warnings.catch_warnings(record=True) as warned, caplog.at_level("WARNING"):
        warnings.simplefilter("always")
        trained = train(step("one"), folders, tmp_path / "c")
        trained.write(tmp_path / "one", folders[0])
        models.load_encoder(str(tmp_path / "one"), device="cpu", dtype="float32")
        assert "become one" not in caplog.text
        assert not [each for each in warned if "is_gradient" in str(each.message)]
        models.load_encoder(folders[1], device="cpu", dtype="float32")
        assert "the last one's is taken" in caplog.text


def test_a_fingerprint_is_of_both_models(folders, tmp_path):
    train(step("one", learns=("connector",)), folders, tmp_path / "c").write(
        tmp_path / "one", folders[0]
    )
    before = models.fingerprint(str(tmp_path / "one"))
    other = save_small_decoder(tmp_path / "other", seed=5)
    about = tmp_path / "one" / "lusifer.json"
    about.write_text(about.read_text().replace(folders[1], other))
    assert models.fingerprint(str(tmp_path / "one")) != before


def test_a_connector_of_another_shape_is_refused(folders, tmp_path):
    trained = train(step("one", learns=("connector",)), folders, tmp_path / "c")
    trained.write(tmp_path / "one", folders[0])
    about = tmp_path / "one" / "lusifer.json"
    about.write_text(about.read_text().replace('"tokens": 1', '"tokens": 2'))
    with pytest.raises(ModelError, match="belongs to other models, or has another shape"):
        models.load_encoder(str(tmp_path / "one"), device="cpu", dtype="float32")


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
def test_every_other_document_of_the_batch_is_a_negative_on_one_process(folders, similarity):
    """n rows with k negatives: each query among n (1 + k) documents, as a few lines of torch."""
    made, rows = step("one"), make_rows()
    chain, _, _ = prepare(made, training_of(folders), AdapterStack(), "cpu")
    columns = [rows["anchor"], rows["positive"], *(rows["negatives"].list.get(i) for i in (0, 1))]
    chain.eval()
    vectors = [torch.tensor(chain.encode(each.to_list())) for each in columns]
    query, *documents = (torch.nn.functional.normalize(each) for each in vectors)
    documents = torch.cat(documents)
    alike = query @ documents.T if similarity == "cosine" else -torch.cdist(query, documents)
    logits = alike / made.loss.temperature
    assert logits.shape == (12, 36)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(12))
    features = [chain.preprocess(each.to_list()) for each in columns]
    loss = WeightedRankingLoss(chain, made.loss.temperature, 5, similarity=similarity)
    nothing = Labels(torch.zeros(12, 48), torch.ones(12), torch.zeros(12, 3), torch.tensor(0))
    assert loss(features, nothing).item() == pytest.approx(expected.item(), rel=1e-4)


def test_mini_batches_change_no_gradient_of_a_chain(folders):
    """With pairs closed, negatives doubted and rows weighted, in texts of several lengths."""
    made, rows = step("one", lora=LoraSettings(rank=4)), make_rows()
    columns = [rows["anchor"], rows["positive"], *(rows["negatives"].list.get(i) for i in (0, 1))]
    torch.manual_seed(0)
    shifts = torch.randn(12, 48)
    shifts[0, 13] = shifts[3, 15 + 12] = -torch.inf
    labels = Labels(shifts, torch.rand(12), torch.zeros(12, 3), torch.tensor(0))
    found = []
    for size in (50, 5):
        chain, _, _ = prepare(made, training_of(folders), AdapterStack(), "cpu")
        features = [chain.preprocess(each.to_list()) for each in columns]
        loss = WeightedRankingLoss(chain, 0.05, size)(features, labels)
        loss.backward()
        slopes = {n: p.grad for n, p in chain.named_parameters() if p.requires_grad}
        found.append((loss.detach(), slopes))
    assert {name[0] for name in found[0][1]} == {"0", "1", "2"}
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_imitation_learns_the_guides_vectors_of_documents(folders, tmp_path):
    base = folders[0]
    guide = save_small_encoder(tmp_path / "guide", seed=3)
    loss = LossSettings(kind="mse", negatives=0, guide=guide)
    made, rows = step("one", loss=loss), make_rows(document="en", query="ru")
    training = make_training(base)
    encoder, _, _ = prepare(made, training, AdapterStack(), "cpu")
    found = make_objective(encoder, {"data-0 | en | ru": rows}, made, training, "cpu")
    labels = np.asarray(found.datasets["data-0 | en | ru"]["label"])
    teacher = models.load_encoder(guide, device="cpu", dtype="float32")
    np.testing.assert_allclose(labels, teacher.encode(rows["positive"].to_list()), atol=1e-6)


class TestRecipe:
    def test_it_is_two_phases_of_alignment_and_the_finetuning(self, folders):
        training = training_of(folders, recipe={"name": "lusifer"})
        steps = expand(training)
        assert [(s.name, s.adapter, s.on, s.loss.kind, s.learns) for s in steps] == [
            ("align-1", "new", None, "align", ("encoder", "connector")),
            ("align-2", "continue", "align-1", "align", ("encoder", "connector")),
            ("finetune", "continue", "align-2", "infonce", ("encoder", "connector", "target")),
        ]
        assert [s.loss.align.reconstruct for s in steps[:2]] == [1, 0.28]
        assert routes(steps, training) == {"*": "finetune"}
        check(steps, chain=True)

    @pytest.mark.parametrize(
        ("given", "names", "learns"),
        [
            ({"learns": ("connector",)}, 3, ("connector",)),
            ({"learns": ("connector", "target")}, 3, ("connector", "target")),
            ({"stages": "align"}, 2, ("encoder", "connector")),
            ({"stages": "finetune"}, 1, ("encoder", "connector", "target")),
        ],
    )
    def test_the_papers_ablations_are_values(self, folders, given, names, learns):
        steps = expand(training_of(folders, recipe={"name": "lusifer", **given}))
        assert (len(steps), steps[-1].learns) == (names, learns)
        check(steps, chain=True)

    def test_what_contradicts_itself_is_refused(self, folders):
        with pytest.raises(ValueError, match="`lusifer` needs the `target`"):
            make_training(folders[0], recipe={"name": "lusifer"})
        with pytest.raises(ValueError, match="`stages` is for the recipe `lusifer`"):
            RecipeSettings(name="mono", stages="align")
        with pytest.raises(SettingsError, match="leaves the target as it is"):
            expand(training_of(folders, recipe={"name": "lusifer", "learns": ["target"]}))

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (step("one", languages=("ru",)), "all languages pass through a chain"),
            (step("one", "align", learns=("target",)), "`align` leaves the target"),
        ],
    )
    def test_steps_that_do_not_fit_a_chain(self, made, said):
        with pytest.raises(SettingsError, match=said):
            check([made], chain=True)

    def test_a_stack_of_chains(self):
        steps = [step("one"), step("two", adapter="stack", on="one")]
        with pytest.raises(SettingsError, match="a step of a chain is `new`, or continues"):
            check(steps, chain=True)

    def test_everything_is_looked_at_before_training(self, folders, tmp_path):
        check_training(training_of(folders, recipe={"name": "lusifer"}))
        same = training_of((folders[0], folders[0]), recipe={"name": "lusifer"})
        with pytest.raises(ModelError, match="of one family"):
            check_training(same)
        (other := tmp_path / "own").mkdir()
        (other / "config.json").write_text(
            '{"model_type": "mine", "auto_map": {"AutoModel": "x.X"}}'
        )
        with pytest.raises(ModelError, match="comes with code of its own"):
            check_training(training_of((folders[0], str(other)), recipe={"name": "lusifer"}))
        lora = {"targets": ["query"]}  # the encoder's name for it, not the target's
        with pytest.raises(ModelError, match=r"layer of the target ends with query; .*q_proj"):
            check_training(training_of(folders, lora=lora, recipe={"name": "lusifer"}))
        lora = {"targets": ["query", "q_proj", "keys"]}
        with pytest.raises(ModelError, match=r"layer of the base ends with keys; .*query"):
            check_training(training_of(folders, lora=lora, recipe={"name": "lusifer"}))

    def test_layers_of_a_lora_may_be_those_of_either_model(self, folders):
        made = step("one", lora=LoraSettings(rank=2, targets=("query", "q_proj")))
        chain, _, _ = prepare(made, training_of(folders), AdapterStack(), "cpu")
        adapted = {
            name.split(".lora_")[0] for name, _ in chain.named_parameters() if "lora_" in name
        }
        assert {(name[0], name.rsplit(".")[-1]) for name in adapted} == {
            ("0", "query"), ("2", "q_proj"),
        }  # fmt: skip

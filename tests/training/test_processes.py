"""Several processes that share batches train what one does, and fail as one does."""

import logging
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from polymine import models
from polymine.data_contracts.errors import InputError, ModelError
from polymine.data_contracts.settings import (
    LoraSettings,
    LossSettings,
    ScheduleSettings,
    StepSettings,
)
from polymine.progress import Progress, Silent
from polymine.training import adapters
from polymine.training.adapters import AdapterStack
from polymine.training.processes import together
from polymine.training.team import Team
from polymine.training.trainer import TrainedStep, train_step, train_with
from robustness.faults.inside import limit_memory
from tests.training.small_work import fall, refuse, stumble
from tests.training.test_trainer import (
    Killed,
    KilledAt,
    make_rows,
    make_step,
    make_training,
    same,
)
from tests.training.test_watch import harmful_rows, plan, questions

NEAR = {"rtol": 1e-4, "atol": 2e-6}  # weights after some steps; a learning rate of .005 moves them
LOSSES = {
    "infonce": {},
    "l2, both ways, Matryoshka": {
        "symmetric": True,
        "unseen_margin": 0.05,
        "similarity": "l2",
        "dimensions": (16,),
    },
    "anchor": {"base_anchor": 2.0},
    "clear": {"kind": "clear"},
    "gist": {"kind": "gist", "guide": True},
    "distill": {"kind": "distill"},
    "margin": {"kind": "margin"},
    "mse": {"kind": "mse", "guide": True, "negatives": 0},
    "list": {"kind": "list", "target": "fused"},
}
Made = tuple[TrainedStep, dict[str, torch.Tensor]]
CASES = (*LOSSES, "uneven", "languages", "whole", "looks", "resumed", "short")


def make_case(name: str, base: str) -> tuple[StepSettings, pl.DataFrame]:
    """What is trained: rows with weights, masks and padding, five in a batch of two processes."""
    loss = {"negatives": 2, **LOSSES.get(name, {})}
    loss = loss | {"guide": base} if "guide" in loss else loss
    rows = make_rows(listed=name == "list")
    step = make_step(steps=4, loss=LossSettings(**loss))
    if name == "uneven":  # and batches of two and three rows
        few = [make_rows(document=each, count=count) for each, count in (("de", 2), ("fr", 3))]
        rows = pl.concat([rows, *few])
        schedule = ScheduleSettings(steps=6, batch=5, mini_batch=2, learning_rate=5e-3)
        step = step.model_copy(update={"schedule": schedule})
    if name == "dropout":
        step = make_step(steps=4, lora=LoraSettings(rank=4, dropout=0.2))
    if name == "languages":  # texts of German alone pass through the adapter
        rows = make_rows(document="de")
        step = step.model_copy(update={"languages": ("de",)})
    if name == "whole":
        step = make_step(steps=4, adapter="full", loss=step.loss)
    return step, rows


def train_case(name: str, base: str, folder: Path, team: Team, progress: Progress) -> Made:
    """Train a case in this process, alone or with others, and take what learned."""
    step, rows = make_case(name, base)
    training, development = make_training(base), None
    if name == "looks":
        step, training = plan(base, patience=1)
        rows, development = harmful_rows(), questions()
    made = train_with(
        step, rows, training, team, progress, stack=AdapterStack(), checkpoints=folder / name,
        fingerprint="s", device="cpu", development=development,
    )  # fmt: skip
    state = made.encoder.state_dict()
    return replace(made, encoder=None), {name: state[name].clone() for name in made.learned}


def train_cases(base: str, folder: Path, team: Team, progress: Progress) -> dict[str, Made]:
    """Train all cases, one after the other, since processes take long to start."""
    load, made = adapters.load_encoder, {}

    def load_limited(*names, **options):
        model = load(*names, **options)
        limit_memory(model, 20)
        return model

    for name in CASES:
        if name == "short" and not team.leads:  # of memory, in one process alone
            adapters.load_encoder = load_limited
        made[name] = train_case(name, base, folder, team, progress)
    adapters.load_encoder = load
    made["dropout"] = train_case("dropout", base, folder, team, progress)
    if team.leads:
        shutil.rmtree(folder / "dropout" / "checkpoint-4")
    team.add(torch.zeros(1))
    assert [path.name for path in (folder / "dropout").iterdir()] == ["checkpoint-2"]
    made["dropout again"] = train_case("dropout", base, folder, team, progress)
    return made


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def base_of(name: str):
    return models.load_encoder(name, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    return partial(train_case, base=base, team=Team(), progress=Silent())


@pytest.fixture(scope="module")
def two(base, tmp_path_factory):
    """What two processes made of all cases, one of them begun by a single process, and the log."""
    folder, kept = tmp_path_factory.mktemp("two"), Kept()
    with pytest.raises(Killed):
        train_case("resumed", base, folder, Team(), KilledAt(3))
    assert [path.name for path in (folder / "resumed").iterdir()] == ["checkpoint-2"]
    logging.getLogger("polymine").addHandler(kept)
    try:
        made = together(partial(train_cases, base, folder), 2, Silent(), on_gpus=False)
    finally:
        logging.getLogger("polymine").removeHandler(kept)
    return made, kept.messages


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_does(two, alone, tmp_path, name):
    """With closed pairs, weights of rows and pairs, leftovers, texts that learn nothing."""
    (shared, found), (one, expected) = two[0][name], alone(name, folder=tmp_path)
    torch.testing.assert_close(found, expected, **NEAR)
    torch.testing.assert_close(
        torch.tensor(shared.curve["loss"]), torch.tensor(one.curve["loss"]), rtol=1e-4, atol=1e-6
    )
    assert (shared.steps, shared.closed) == (one.steps, one.closed)
    assert shared.closed or name in ("looks", "mse")
    assert shared.tokens == one.tokens


def test_two_processes_stop_at_the_same_look(two, alone, tmp_path):
    (shared, _), (one, _) = two[0]["looks"], alone("looks", folder=tmp_path)
    assert shared.chosen.stopped
    assert shared.chosen.step == one.chosen.step == 0
    torch.testing.assert_close(
        torch.tensor(shared.looks["ndcg"]), torch.tensor(one.looks["ndcg"]), rtol=1e-4, atol=1e-4
    )


def test_memory_that_one_lacks_halves_the_mini_batch_of_all(two):
    assert [message for message in two[1] if "memory" in message] == [
        "step mono: a mini-batch of 2 texts is more than memory holds; halved to 1, which "
        "changes the loss by no more than rounding"
    ]


class Counted(KilledAt):
    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.told: list[tuple[object, ...]] = []

    def start(self, stage: str, total: int, unit: str) -> None:
        self.told.append((stage, total, unit))

    def finish(self, stage: str) -> None:
        self.told.append((stage,))


def test_they_tell_their_steps_and_leave_the_encoder_here(base, alone, two, tmp_path):
    step, rows = make_case("infonce", base)
    progress = Counted(100)
    trained = train_step(
        step, rows, make_training(base), checkpoints=tmp_path / "two", fingerprint="s",
        progress=progress, processes=2,
    )  # fmt: skip
    assert progress.told == [("train mono", 4, "steps"), ("train mono",)]
    assert progress.left == 96
    state = trained.encoder.state_dict()
    assert same({name: state[name] for name in trained.learned}, two[0]["infonce"][1])
    trained.write(tmp_path / "adapter", base)
    stored = load_file(tmp_path / "adapter" / adapters.WEIGHTS)
    expected = adapters.adapter_weights(trained.encoder, trained.adapter)
    assert len(stored) == len(expected) == len(trained.learned)
    vectors = [each.encode(["it is fox in en"]) for each in (trained.encoder, base_of(base))]
    assert abs(vectors[0] - vectors[1]).max() > 1e-3  # the adapter is active


def test_a_step_of_two_resumes_to_the_same_bytes(two):
    """With dropout, of which each process draws its own."""
    (whole, expected), (resumed, found) = two[0]["dropout"], two[0]["dropout again"]
    assert same(found, expected)
    assert resumed.curve["loss"].to_list() == whole.curve["loss"].to_list()
    assert (resumed.tokens, resumed.closed) == (whole.tokens, whole.closed)


@pytest.mark.parametrize(
    ("work", "error", "says"),
    [
        (refuse, InputError, "^row 7 is bad$"), (stumble, KeyError, "a slip of ours"),
        (fall, ModelError, "process 2 of 2 was ended by signal SIGKILL"),
    ],
)  # fmt: skip
def test_what_one_process_raises_is_raised_here(work, error, says):
    """And all others end, though they wait for it."""
    with pytest.raises(error, match=says) as raised:
        together(work, 2, Silent(), on_gpus=False)
    if work is stumble:
        assert "in stumble" in raised.value.__notes__[0]


STARTER = """
from functools import partial
from pathlib import Path
from polymine.progress import Silent
from polymine.training.processes import together
from tests.training.small_work import wait
together(partial(wait, Path({folder!r})), 2, Silent(), on_gpus=False)
"""


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """A script without `if __name__ == "__main__"`, killed."""
    starter = subprocess.Popen([sys.executable, "-c", STARTER.format(folder=str(tmp_path))])
    try:
        assert eventually(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        starter.kill()
        starter.wait()
    started = [int(path.name) for path in tmp_path.iterdir()]
    assert eventually(lambda: not any(map(is_running, started)), seconds=20)


def eventually(holds, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@given(rows=st.integers(1, 40), size=st.integers(1, 12))
def test_every_row_is_one_processs_own(rows, size):
    team = [Team(rank, size) for rank in range(size)]
    assert [row for each in team for row in range(rows)[each.own(rows)]] == list(range(rows))
    assert all(len(range(rows)[each.read(rows)]) for each in team)

"""What processes do in tests of how they end; each of them has to import it, so it is small."""

import os
import signal
import time
from pathlib import Path

import torch

from polymine.data_contracts.errors import InputError
from polymine.models.failures import told
from polymine.progress import Progress
from polymine.training.team import Team


def refuse(team: Team, progress: Progress) -> None:
    if team.rank == 1:
        raise InputError("row 7 is bad")
    team.add(torch.zeros(1))


def stumble(team: Team, progress: Progress) -> None:
    team.add(torch.zeros(1))
    raise KeyError("a slip of ours")


def fall(team: Team, progress: Progress) -> None:
    if team.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    with told("step mono: the model failed on a batch"):  # as in a step
        team.add(torch.zeros(1))


def wait(folder: Path, team: Team, progress: Progress) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)

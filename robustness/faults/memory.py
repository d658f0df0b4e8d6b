"""Memory that does not hold a batch."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustness.faults.inside import limit_memory
from robustness.faults.kills import make_reference
from robustness.faults.storage import Outcome, compare
from robustness.faults.work import Forks, Job

LEAST = 96  # tokens: less than any batch, more than any text or pair of the data set
TRAINED = 40  # tokens that hold one text of a mini-batch of two, and not both
# The model's own description names the settings of its steps, the mini-batch among them.
SETTINGS = ("training/model/polymine.json", "store: models/")


def short_of_memory(forks: Forks, job: Job) -> list[Outcome]:
    """Run with models that hold fewer tokens at once than the settings' batches.

    Every step is expected to be that of the smaller mini-batch; so the run is compared with one
    that has it in its settings.
    """
    outcome = Outcome("memory: batches halved", times=1, named=0)
    small = replace(job, root=f"{job.root}/expected", training={"mini_batch": 1})
    expected = make_reference(forks, small)
    tight = replace(
        job, root=f"{job.root}/tight", before=("little_memory", (LEAST, TRAINED)),
        training={"mini_batch": 2},
    )  # fmt: skip
    code, root = forks.wait(tight), Path(tight.root)
    log = (root / "log").read_text()
    if code:
        outcome.wrong.append(f"ended with {code}: {log[-400:]}")
    else:
        compare(root, tight, expected, outcome)
        outcome.wrong = [name for name in outcome.wrong if not name.startswith(SETTINGS)]
    wanted = ("embedding: a batch of", "validation: a batch of", "step first: a mini-batch of 2")
    outcome.named = sum(text in log for text in wanted)
    outcome.times = len(wanted)
    if outcome.named < len(wanted):
        outcome.wrong.append(f"not said: {[text for text in wanted if text not in log]}")
    shutil.rmtree(job.root)
    return [outcome, too_long()]


def too_long() -> Outcome:
    """One text, and one pair, that does not fit by itself is an error that names it."""
    from polymine import models
    from polymine.data_contracts.errors import ModelError
    from polymine.mining.embedding import TextEncoder, encode_all
    from polymine.mining.validation import PairScorer
    from tests.small import MINILM, small_validator

    outcome = Outcome("memory: a text that does not fit", named=0)
    long = "a text of many words " * 20
    encoder = models.load_encoder(str(MINILM.model), device="cpu", dtype="float32")
    scorer = models.load_cross_encoder(small_validator().model, device="cpu", dtype="float32")
    tries: list[tuple[Any, Any]] = [
        (encoder, lambda: encode_all(TextEncoder([encoder], 1, 2048), ["one", long])),
        (scorer, lambda: PairScorer([scorer], 1, 2048).score([("one", "two"), ("one", long)])),
    ]
    for model, work in tries:
        limit_memory(model, LEAST)
        outcome.times += 1
        try:
            work()
        except ModelError as error:
            found = "more than memory holds by itself" in str(error) and "max_length" in str(error)
            outcome.named = (outcome.named or 0) + found
        else:
            outcome.wrong.append("no error")
    if outcome.named != outcome.times:
        outcome.wrong.append("the error does not name the text")
    return outcome

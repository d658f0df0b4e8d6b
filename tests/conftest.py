"""Models that several tests share, loaded once, and a small collection that every machine has."""

import pytest
from hypothesis import settings

from polymine import models
from polymine.mining.embedding import TextEncoder
from polymine.mining.validation import PairScorer
from tests.small import MINILM, save_small_encoder, small_validator, write_animals

# A busy machine is no bug: tests may take their time.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


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
    """A small cross-encoder with random weights, in float32 on the CPU."""
    return models.load_cross_encoder(small_validator().model, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def scorer(cross_encoder) -> PairScorer:
    """The same on two threads."""
    return PairScorer([cross_encoder], threads=2, batch_tokens=2048)


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tables of `animal_tables` as files, by the keys of `[dataset]`."""
    return write_animals(tmp_path_factory.mktemp("animals"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small encoder with random weights, for training to start from."""
    return save_small_encoder(tmp_path_factory.mktemp("base"))

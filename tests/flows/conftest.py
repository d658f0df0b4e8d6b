"""One Prefect server for all tests of flows."""

import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_server():
    """A server with a database of its own, until the tests end."""
    with prefect_test_harness(server_startup_timeout=120):
        yield

"""The encoder that tests train, named here for all of them; benchmarks use it, too."""

from tests.small import save_small_encoder

__all__ = ["save_small_encoder"]

"""How many CPU threads a run uses, for the libraries that would take all they find."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from polymine.data_contracts.settings import EngineSettings


def count_threads(engine: EngineSettings) -> int:
    """CPU threads to use: the setting, or the cores this process may run on."""
    return engine.threads or len(os.sched_getaffinity(0))


@contextmanager
def limited_threads(engine: EngineSettings) -> Iterator[None]:
    """Hold FAISS and BLAS to `engine.threads` while a run lasts; without it they take all cores."""
    if engine.threads is None:
        yield
        return
    import faiss  # before the limit is set, so that its thread pool is among those limited

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(engine.threads)
    try:
        with threadpool_limits(engine.threads):
            yield
    finally:
        faiss.omp_set_num_threads(before)

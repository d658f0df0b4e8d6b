"""The setting `engine.threads` binds the libraries that take all cores by themselves."""

import faiss
from threadpoolctl import threadpool_info

from polymine.data_contracts.settings import EngineSettings
from polymine.tasks.engine.threads import count_threads, limited_threads


def test_the_setting_holds_faiss_and_blas_and_is_undone() -> None:
    before = faiss.omp_get_max_threads()
    with limited_threads(EngineSettings(threads=1)):
        assert faiss.omp_get_max_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    assert faiss.omp_get_max_threads() == before


def test_without_the_setting_nothing_is_touched() -> None:
    before = faiss.omp_get_max_threads()
    with limited_threads(EngineSettings()):
        assert faiss.omp_get_max_threads() == before
    assert count_threads(EngineSettings(threads=3)) == 3

"""The whole comparison on the smallest judged collection."""

import pytest

from benchmarks.cases import Encoder
from benchmarks.curves import draw
from benchmarks.false_negatives import DATA, Plan, describe, measure
from benchmarks.trade_off_tables import mean_ratio, show

ADI = DATA / "adi"
PLAN = Plan(seeds=2, queries=12)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    cache = tmp_path_factory.mktemp("vectors")
    found = {"adi": measure(ADI, PLAN, Encoder(cache))}
    return {"settings": describe(PLAN), "collections": found}


@pytest.mark.skipif(not ADI.exists(), reason="the public test data are not here")
def test_every_method_is_measured_and_shown(results, tmp_path):
    found = results["collections"]["adi"]
    assert found["queries"] == 12
    curves, reference = found["curves"], found["at_reference"]["percent"]
    assert reference["seeds"] == 2
    assert reference["ratio"] == pytest.approx(1)
    assert all(0 <= point.get("false_negatives", 0) <= 1 for at in curves.values() for point in at)
    naive = curves["naive"][0]
    assert naive["yield"] == 1
    assert naive["hardness"] >= max(
        point["hardness"] for at in curves.values() for point in at if point["yield"] == 1
    )
    assert mean_ratio(results["collections"], "percent", ["adi"]) == pytest.approx(1)
    assert mean_ratio(results["collections"], "percent", ["adi", "med"]) is None
    text = show(results, ["adi"])
    assert all(method in text for method in curves)
    assert draw(results, tmp_path / "curves.png").stat().st_size > 10_000

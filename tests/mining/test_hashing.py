"""Content hashes and the random numbers drawn from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polymine.mining.hashing import hash_texts, uniform

KEYS = hash_texts(f"document {number}" for number in range(20_000))
QUERY = np.full(len(KEYS), hash_texts(["query"])[0])


def test_hash_is_xxh3_of_the_utf8_bytes():
    # published test vector of XXH3, 64 bit, for empty input
    assert hash_texts([""]).tolist() == [0x2D06800538D394C2]
    assert hash_texts([]).shape == (0,)


def test_equal_texts_have_equal_hashes_and_others_not():
    one, other, again = hash_texts(["straße", "strasse", "straße"])
    assert one == again != other


def test_lone_surrogate_has_a_hash_too():
    assert len(hash_texts(["\ud800"])) == 1


def test_numbers_are_spread_evenly_over_0_to_1():
    numbers = uniform(0, QUERY, KEYS)
    assert numbers.min() > 0
    assert numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    # binomial: 1000 expected, standard deviation 31; 5 deviations
    assert np.abs(counts - 1000).max() < 155


@pytest.mark.parametrize("change", ["seed", "order of keys", "query"])
def test_other_seed_or_keys_give_unrelated_numbers(change):
    first = uniform(0, QUERY, KEYS)
    second = {
        "seed": uniform(1, QUERY, KEYS),
        "order of keys": uniform(0, KEYS, QUERY),
        "query": uniform(0, QUERY + np.uint64(1), KEYS),
    }[change]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.04  # 1 / sqrt(20000) = 0.007


@given(st.permutations(range(30)), st.integers(0, 30), st.integers(0, 2**53 - 1))
def test_number_depends_on_its_own_keys_alone(order, cut, seed):
    whole = uniform(seed, QUERY[:30], KEYS[:30])
    rows = np.array(order)
    shuffled = uniform(seed, QUERY[rows], KEYS[rows])
    assert shuffled.tolist() == whole[rows].tolist()
    assert uniform(seed, QUERY[:cut], KEYS[:cut]).tolist() == whole[:cut].tolist()

"""Fingerprints: equal for what is equal, and for nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from polymine.data_contracts.references import Shard, fingerprint


class TestFingerprint:
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )

    @given(st.dictionaries(st.text(min_size=1), value, max_size=4), st.randoms())
    def test_order_of_names_does_not_matter(self, parts, random):
        shuffled = list(parts.items())
        random.shuffle(shuffled)
        assert fingerprint(**dict(shuffled)) == fingerprint(**parts)

    @given(value, value)
    def test_other_values_give_another_fingerprint(self, one, other):
        same = repr(one) == repr(other)
        assert (fingerprint(a=one) == fingerprint(a=other)) == same or one == other

    def test_names_values_and_nesting_are_told_apart(self):
        parts = [
            {"a": "b"}, {"b": "a"}, {"a": ["b"]}, {"a": {"b": None}}, {"a": "b", "c": None},
            {"a": ["b", "c"]}, {"a": ["c", "b"]}, {"a": "bc"}, {"a": 1}, {"a": "1"}, {"a": [1, 1]},
            {"a": [[1], 1]}, {"a": Shard(name="b", rows=1, checksum="")},
            {"a": Shard(name="b", rows=2, checksum="")},
        ]  # fmt: skip
        assert len({fingerprint(**part) for part in parts}) == len(parts)

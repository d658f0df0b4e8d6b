"""Batches: every text once, within the budget; threads change neither order nor errors."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polymine.mining.batching import count_tokens, plan_batches, run_batches


def plan(lengths, budget, one_length, hashes=None):
    hashes = np.arange(len(lengths)) if hashes is None else hashes
    batches = plan_batches(
        np.array(lengths, np.int64), np.array(hashes, np.uint64), budget, one_length
    )
    return [batch.tolist() for batch in batches]


class TestPlanBatches:
    def test_one_length_puts_equal_lengths_together_ties_by_hash(self):
        #                position: 0  1  2  3
        assert plan([3, 5, 3, 2], 10, True, [9, 1, 4, 7]) == [[1], [2, 0], [3]]

    def test_padded_batches_take_what_the_longest_leaves_room_for(self):
        # longest first: 5 | 3 3 2; two rows of 5 fit into 10, then three of 3 would, two are left
        assert plan([3, 5, 3, 2], 10, False, [9, 1, 4, 7]) == [[1, 2], [0, 3]]

    def test_text_longer_than_the_budget_goes_alone(self):
        assert plan([9, 2, 2], 4, True) == [[0], [1, 2]]

    @pytest.mark.parametrize("one_length", [True, False])
    def test_text_without_tokens_takes_the_room_of_one(self, one_length):
        batches = plan([0, 0, 0], 2, one_length)
        assert batches == [[0, 1], [2]]

    def test_no_texts_no_batches(self):
        assert plan([], 10, True) == []

    @given(
        st.lists(st.integers(0, 300), max_size=60), st.integers(1, 700), st.booleans(), st.data()
    )
    def test_every_text_once_within_the_budget(self, lengths, budget, one_length, data):
        hashes = data.draw(st.permutations(range(len(lengths))))
        batches = plan(lengths, budget, one_length, hashes)
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        longest = [max(max(lengths[row] for row in batch), 1) for batch in batches]
        assert longest == sorted(longest, reverse=True)
        for batch, length in zip(batches, longest, strict=True):
            assert len(batch) == 1 or len(batch) * length <= budget
            if one_length:
                assert {max(lengths[row], 1) for row in batch} == {length}

    @given(st.lists(st.integers(0, 40), max_size=40), st.integers(1, 200), st.booleans(), st.data())
    def test_batches_do_not_depend_on_the_order_of_the_texts(self, lengths, budget, one, data):
        order = data.draw(st.permutations(range(len(lengths))))
        straight = plan(lengths, budget, one)
        shuffled = plan([lengths[row] for row in order], budget, one, order)
        assert [[order[row] for row in batch] for batch in shuffled] == straight


class TestCountTokens:
    TEXTS = ("a short one", "Ein deutscher Satz.", "東京タワー", "word " * 40, " ")

    def test_counts_what_the_tokenizer_gives(self, minilm):
        expected = [len(minilm.tokenizer(text)["input_ids"]) for text in self.TEXTS]
        assert count_tokens(minilm.tokenizer, self.TEXTS).tolist() == expected

    def test_counts_pairs_with_their_separators(self, minilm):
        pairs = [(left, right) for left in self.TEXTS for right in self.TEXTS]
        expected = [len(minilm.tokenizer(*pair)["input_ids"]) for pair in pairs]
        assert count_tokens(minilm.tokenizer, pairs).tolist() == expected

    def test_leaves_the_tokenizer_as_it_was(self, minilm):
        before = minilm.tokenizer(list(self.TEXTS), truncation=True, max_length=8, padding=True)
        assert count_tokens(minilm.tokenizer, self.TEXTS).max() > 8
        backend = minilm.tokenizer.backend_tokenizer
        assert backend.truncation["max_length"] == 8
        assert backend.padding is not None
        after = minilm.tokenizer(list(self.TEXTS), truncation=True, max_length=8, padding=True)
        assert before["input_ids"] == after["input_ids"]

    def test_guesses_by_characters_without_a_fast_tokenizer(self):
        slow = SimpleNamespace(is_fast=False)
        assert count_tokens(slow, ["12345678", ""]).tolist() == [4, 2]
        assert count_tokens(slow, [("1234", "5678")]).tolist() == [4]


class TestRunBatches:
    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_results_come_in_order_however_long_each_takes(self, workers):
        def work(item, worker):
            time.sleep(0.002 * (5 - item % 5))
            return item * item

        assert list(run_batches(work, range(20), workers)) == [n * n for n in range(20)]

    def test_no_two_items_share_a_worker_at_a_time(self):
        busy, lock, clashes = set(), threading.Lock(), []

        def work(item, worker):
            with lock:
                clashes.append(worker in busy or worker not in range(3))
                busy.add(worker)
            time.sleep(0.002)
            with lock:
                busy.discard(worker)

        list(run_batches(work, range(40), 3))
        assert len(clashes) == 40
        assert not any(clashes)

    def test_error_of_a_worker_is_raised_and_the_rest_is_not_begun(self):
        begun = []

        def work(item, worker):
            begun.append(item)
            if item == 3:
                raise ValueError("item 3 is broken")
            return item

        results = run_batches(work, range(1000), 2)
        with pytest.raises(ValueError, match="item 3 is broken"):
            for _ in results:
                pass
        assert max(begun) <= 3 + 2 * 2

    def test_at_most_two_items_per_worker_are_ahead_of_the_reader(self):
        begun = []
        results = run_batches(lambda item, worker: begun.append(item), range(100), 2)
        for read in range(1, 6):
            next(results)
            time.sleep(0.01)
            assert len(begun) <= read + 2 * 2
        results.close()
        assert len(begun) < 100

    def test_each_batch_has_one_thread_and_torch_is_left_as_it_was(self):
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            seen = set(run_batches(lambda *_: torch.get_num_threads(), range(4), 2))
            assert seen == {1}
            assert torch.get_num_threads() == 2
            with pytest.raises(ZeroDivisionError):
                list(run_batches(lambda *_: 1 / 0, range(4), 2))
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_nothing_to_do(self):
        assert list(run_batches(lambda *_: 1, [], 2)) == []

"""Near-copies: against all pairs, at the threshold, in several scripts, in linear time."""

import itertools
import random
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from polymine.mining.ingestion import near_copies, normalise, text_key
from polymine.mining.near_copies import (
    CHARACTERS,
    PERMUTATIONS,
    RECALL,
    band_keys,
    hash_tokens,
    jaccard,
    rows_per_band,
    shingle,
    signatures,
)
from tests.mining.small_tables import DOCUMENTS, documents
from tests.public_data import public_tables

SENTENCE = "the old man and the sea went home by a long road under many bright stars tonight"
WORDS = SENTENCE.split()


def near(threshold: float, **texts: str) -> list[set[str]]:
    groups = near_copies(documents(*texts.items()), threshold)
    members = groups.group_by("near_group").agg("doc_id")["doc_id"].to_list()
    return sorted(map(set, members), key=min)


class TestTextKeys:
    def test_stored_text_is_nfc_and_otherwise_untouched(self):
        assert normalise("Cafe\u0301  ﬁn") == "Café  ﬁn"

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Cafe\u0301", "CAFÉ"),
            ("ﬁn  de\tligne\n", "fin de ligne"),
            ("Straße", "STRASSE"),
            ("ＡＢＣ", "abc"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ],
    )
    def test_copies_share_a_key(self, one, other):
        assert text_key(one) == text_key(other)

    @given(st.text())
    def test_key_of_a_key_is_itself(self, text):
        assert text_key(text_key(text)) == text_key(text)


class TestParts:
    # "one two three" and its like: 3 runs of three words, 2 of them shared; and no words at all.
    TEXTS = pl.Series(["one two three four five", "one two three four six", "?", "One, two three"])

    def test_shingles_are_ascending_and_distinct_for_each_text(self):
        shingles = shingle(self.TEXTS)
        assert shingles.sizes.tolist() == [3, 3, 0, 1]
        hashes, offsets = shingles.of(np.array([3, 0]))
        assert offsets.tolist() == [0, 1, 4]
        assert (np.diff(hashes[1:].astype(np.int64)) > 0).all()
        assert hashes[0] in hashes[1:]

    def test_jaccard_is_shared_over_all_shingles(self):
        left, right = np.array([0, 0, 2, 0]), np.array([0, 1, 2, 3])
        assert jaccard(shingle(self.TEXTS), left, right).tolist() == [1, 2 / 4, 0, 1 / 3]

    def test_tokens_are_words_or_characters_by_the_script(self):
        hashes, lengths, width = hash_tokens(["two words", "", "的一是不了人"])
        assert lengths.tolist() == [2, 0, 6]
        assert width.tolist() == [3, 3, CHARACTERS]
        assert len(hashes) == 8

    def test_signatures_agree_about_as_often_as_the_sets_are_alike(self):
        words = [f"word{i}" for i in range(402)]
        texts = pl.Series([" ".join(words[:302]), " ".join(words[100:])])  # 200 of 400 shared
        one, other = signatures(shingle(texts), np.arange(2))
        assert one.shape == (PERMUTATIONS,)
        assert abs((one == other).mean() - 0.5) < 4 * (0.25 / PERMUTATIONS) ** 0.5

    @pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95, 1.0])
    def test_bands_hold_as_many_rows_as_recall_allows(self, threshold):
        def recall(rows: int) -> float:
            return 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows)

        rows = rows_per_band(threshold)
        assert recall(rows) >= RECALL
        assert rows == PERMUTATIONS or recall(rows + 1) < RECALL

    def test_texts_share_a_bucket_of_the_bands_in_which_they_agree(self):
        minhashes = np.zeros((2, PERMUTATIONS), dtype=np.uint32)
        minhashes[1, :40] = 1
        one, other = band_keys(minhashes, 40)
        assert (one == other).tolist() == [False, True, True]


class TestNearCopies:
    def test_one_word_of_many_makes_a_near_copy_and_another_text_none(self):
        text = " ".join(WORDS * 3 + ["end"])
        assert near(0.8, a=text, b=text + " now", c=" ".join(reversed(WORDS))) == [{"a", "b"}]

    def test_punctuation_and_case_do_not_count(self):
        assert near(1.0, a="One, two; three -- four!", b="one two THREE four") == [{"a", "b"}]

    def test_short_texts_are_compared_whole(self):
        assert near(0.8, a="set theory", b="Set theory.", c="set", d="theory") == [{"a", "b"}]

    def test_texts_without_any_word_are_never_near(self):
        assert near(0.5, a="+++", b="---", c="!") == []

    @pytest.mark.parametrize(
        "alphabet", ["的一是不了人我在有他这中大来上国", "กขคงจฉชซญดตถทธนบปผพฟ"]
    )
    def test_scripts_without_spaces(self, alphabet):
        generator = random.Random(0)
        one, other = ("".join(generator.choices(alphabet, k=200)) for _ in range(2))
        assert near(0.8, a=one, b=one[:-3] + alphabet[0], c=other) == [{"a", "b"}]

    def test_exactly_at_the_threshold_counts(self):
        # Shingles: {abc, bcd, cde, def} and {abc, bcd, cde, dex}: 3 of 5 shared.
        assert near(0.6, a="a b c d e f", b="a b c d e x") == [{"a", "b"}]
        assert near(0.61, a="a b c d e f", b="a b c d e x") == []

    def test_found_as_by_comparing_all_pairs(self):
        generator = random.Random(1)
        texts = {}
        for base in range(60):
            words = generator.choices(WORDS + list("abcdefghij"), k=80)
            for copy in range(3):
                for _ in range(generator.randrange(4)):
                    words[generator.randrange(80)] = generator.choice("klmnop")
                texts[f"{base:02}-{copy}"] = " ".join(words)
        shingles = {
            name: set(zip(*(text.split()[i:] for i in range(3)), strict=False))
            for name, text in texts.items()
        }
        expected = {
            frozenset((one, other))
            for one, other in itertools.combinations(texts, 2)
            if len(shingles[one] & shingles[other]) / len(shingles[one] | shingles[other]) >= 0.7
        }
        found = near_copies(documents(*texts.items()), 0.7)
        group = dict(found.iter_rows())
        joined = [pair for pair in expected if len({group.get(name, name) for name in pair}) == 1]
        assert len(joined) >= 0.99 * len(expected) > 30

    def test_boilerplate_takes_linear_time(self):
        boilerplate = " ".join(WORDS * 4)
        rows = [(f"d{i:05}", f"{boilerplate} item {i}") for i in range(4_000)]
        started = time.process_time()
        found = near_copies(documents(*rows), 0.8)
        assert found.height == 4_000
        assert found["near_group"].n_unique() == 1
        assert time.process_time() - started < 5

    def test_empty_corpus(self):
        assert near_copies(DOCUMENTS.clear(), 0.8).height == 0


texts = st.sampled_from(["a b c", "A  b c", "a b d", "x y z w", "X y z w", "one", "two", "", "q?"])


@settings(max_examples=25, deadline=None)
@given(st.lists(texts, max_size=8), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_row_order(rows, shuffler):
    frame = documents(*((f"d{number}", text) for number, text in enumerate(rows)))
    shuffled = frame.sample(fraction=1, shuffle=True, seed=shuffler.randrange(1000))
    assert_frame_equal(near_copies(frame, 0.5), near_copies(shuffled, 0.5))


def test_squad_paragraphs_are_compared_quickly():
    corpus = public_tables("squad-dev")[0]
    near_copies(corpus.head(10), 0.8)  # the first call imports
    started = time.process_time()
    near_copies(corpus, 0.8)
    assert time.process_time() - started < 1.0  # 0.15 s alone; other work may share the cores

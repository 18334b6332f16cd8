"""Tokenizers: nothing lost, nothing counted twice, framed as Keras would."""

import io

import numpy as np
import pytest
import sentencepiece
from keras.utils import pad_sequences

from sgblend_utils.data.text import BOS, EOS, PAD, UNK, Subwords, Words, frame, mini_pairs, pad
from sgblend_utils.errors import UserError

TEXT = [side for pair in mini_pairs()["train"][:300] for side in pair]
LONG = ["The old dog sees a cat. " * 250 + "ž"]  # of 6,000 bytes


@pytest.fixture(scope="module")
def subwords():
    return Subwords.train(TEXT, 300)


def test_decoding_undoes_encoding(subwords):
    assert subwords.decode(subwords.encode(TEXT)) == TEXT and len(subwords) == 300
    marked = [[BOS, *row, EOS, PAD] for row in subwords.encode(TEXT[:9])]
    assert subwords.decode(np.array(marked, dtype=object)) == TEXT[:9]


def test_training_twice_gives_the_same_subwords(subwords):
    assert Subwords.train(TEXT, 300).model == subwords.model


def test_too_large_a_vocabulary_is_the_users_to_mend():
    with pytest.raises(UserError, match="vocabulary of 9000"):
        Subwords.train(["The dog.", "Der Hund."], 9000)


def test_long_sentences_are_learned_from_unless_left_out():
    assert UNK not in Subwords.train(TEXT + LONG, 300).encode(["ž"])[0]
    for longest, known in ((4192, False), (100, False), (7000, True)):
        assert (UNK not in Subwords.train(TEXT + LONG, 300, longest).encode(["ž"])[0]) == known
    word = ["ab" * 40_000]  # longer than the positions that BPE counts in 16 bits
    assert UNK not in Subwords.train(TEXT + word, 300).encode(["ab"])[0]


def test_the_limit_of_sentencepiece_gives_the_model_of_old_runs(subwords):
    """Byte for byte: with nothing said about that limit."""
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT + LONG),
        model_writer=buffer,
        vocab_size=300,
        model_type="bpe",
        character_coverage=1.0,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        minloglevel=2,
    )
    assert Subwords.train(TEXT + LONG, 300, 4192).model == buffer.getvalue()
    assert Subwords(buffer.getvalue()).encode(TEXT) == subwords.encode(TEXT)


def test_words_are_split_and_counted_as_published():
    words = Words.fit(["A dog , a  cat.", "the DOG\truns"])
    assert words.words[:2] == ("a", "dog")  # twice each; then in the order they came in
    assert set(words.words) == {"a", "dog", ",", "cat.", "the", "runs"}
    assert words.encode(["Dog a bird"]) == [[5, 4, UNK]]
    assert words.decode(np.array([[BOS, 5, UNK, 4, EOS, PAD]])) == ["dog <unk> a"]
    capped = Words.fit(["A dog , a  cat.", "the DOG\truns"], 6)
    assert len(capped) == 6 and capped.words == ("a", "dog")


def test_padding_fills_the_ends_and_the_spare_rows():
    assert pad([[4, 5], [6]], 3, 3).tolist() == [[4, 5, PAD], [6, PAD, PAD], [PAD] * 3]
    assert pad([[4]], 1).dtype == "int32"


def test_too_long_a_row_loses_its_front_as_in_keras():
    rows = [[4, 5], [4, 5, 6, 7, 8]]
    front, fits = frame(rows, 5, front=True)
    marked = [[BOS, *row, EOS] for row in rows]
    expected = pad_sequences(marked, 5, padding="post", truncating="pre")
    assert np.array_equal(pad(front, 5), expected)
    assert BOS not in front[1] and fits.tolist() == [True, False]
    assert frame(rows, 5)[0] == [[BOS, 4, 5, EOS], [BOS, 4, 5, 6, EOS]]

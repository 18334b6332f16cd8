"""The bundled mini data: what the generator writes, and what makes them a task to learn."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from sgblend_utils.data import images, reviews, text
from sgblend_utils.data.reviews import mini_reviews
from sgblend_utils.data.text import mini_pairs
from sgblend_utils.errors import UserError

FOLDER = Path(__file__).parents[1] / "data" / "mini"
# Results are stored under these: change them knowingly.
PAIRS_DIGEST = "567c57c61fd81ef77c2ab18c46e92c89e445a87b6d5b191df7a5127ae82f75d4"
DIGESTS = {text: "d9f999df1cb38fcd", reviews: "7c1ba51653030efe", images: "8d288b5c30dd7365"}
GOOD = ("good", "great", "funny", "witty", "moving", "lovely")
BAD = ("bad", "awful", "boring", "stupid", "dull", "ugly")


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_generator_writes_the_committed_files(tmp_path, hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    words = [sys.executable, FOLDER / "generate.py", tmp_path]
    subprocess.run(words, env=environment, check=True)
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), path.name


def test_the_data_have_their_digests():
    pairs = json.dumps(mini_pairs()).encode()
    assert hashlib.sha256(pairs).hexdigest() == PAIRS_DIGEST
    assert {module: module.mini_digest() for module in DIGESTS} == DIGESTS


def test_outside_a_checkout_they_are_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "project_root", lambda: tmp_path)
    with pytest.raises(UserError, match="part of a checkout"):
        text.mini_rows.__wrapped__("translation")


def test_splits_have_their_sizes_and_nothing_in_common():
    sizes = {split: len(pairs) for split, pairs in mini_pairs().items()}
    assert sizes == {"train": 3000, "validation": 200, "test": 200}
    for side in (0, 1):
        texts = [pair[side] for pairs in mini_pairs().values() for pair in pairs]
        assert len(set(texts)) == len(texts)
    sizes = {split: len(rows) for split, rows in mini_reviews().items()}
    assert sizes == {"train": 3000, "validation": 300, "test": 600}
    assert len({t for rows in mini_reviews().values() for t in rows.texts}) == 3900


def test_translation_can_be_learned():
    """Nearly every word to translate, or to say, has been seen in training, and most often."""
    for side in (0, 1):
        words = {
            split: Counter(word for pair in pairs for word in pair[side].lower().split())
            for split, pairs in mini_pairs().items()
        }
        test = words["test"].total()
        assert sum(n for w, n in words["test"].items() if words["train"][w]) > 0.995 * test
        assert sum(n for w, n in words["test"].items() if words["train"][w] > 4) > 0.95 * test


def test_the_german_needs_more_than_a_dictionary():
    """The same English word has several translations, which its sentence decides."""
    german = " ".join(pair[1] for pair in mini_pairs()["train"]).lower().split()
    assert {"der", "die", "das", "den", "dem", "ein", "einen", "keinen"} <= set(german)


def test_the_reviews_are_a_rule_that_no_word_alone_can_tell():
    splits = mini_reviews()
    for rows in splits.values():
        for text_, label in zip(rows.texts, rows.labels, strict=True):
            words = text_.replace(".", " ").replace("?", " ").split()
            (place,) = [i for i, word in enumerate(words) if word in GOOD + BAD]
            assert label == ((words[place] in GOOD) != (words[place - 1] == "not"))
    counts, (train, _, test) = CountVectorizer(token_pattern=r"\w+"), splits.values()
    model = LogisticRegression().fit(counts.fit_transform(train.texts), train.labels)
    assert model.score(counts.transform(test.texts), test.labels) < 0.6

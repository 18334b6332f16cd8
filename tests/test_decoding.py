"""Translations are what the model's probabilities say, whatever the search does to be fast."""

import itertools

import numpy as np
import pytest
from keras import ops
from model_tools import forward

from sgblend_utils import decoding
from sgblend_utils.data.text import BOS, EOS, PAD, Subwords
from sgblend_utils.decoding import (
    BeamSearch,
    length_norm,
    search_model,
    teacher_forced,
    translate,
    translate_ids,
)
from sgblend_utils.errors import UserError
from sgblend_utils.models.transformer import Transformer

VOCABULARY = 24
SMALL = {"d_model": 16, "num_heads": 2, "ff_dim": 32, "num_layers": 2, "dropout": 0.0}
LENGTHS = (2, 9, 4, 9, 1, 6, 3)
CACHEABLE = (
    *("no_padding_masks", "shared_activation", "published_activation", "post_norm"),
    *("wide_key_dim", "extra_head", "untied_embeddings", "learned_positions"),
)
backend = pytest.mark.backend


def varied(vocabulary=VOCABULARY, seed=0, **kwargs):
    """A model with larger weights, so that outputs vary and some sentences end early."""
    model = Transformer(vocabulary, **{**SMALL, "activation": "gelu", **kwargs})
    model.build()
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if len(variable.shape) == 2:
            variable.assign(rng.normal(size=variable.shape).astype("float32") * 0.8)
    return model


@pytest.fixture(scope="module")
def model():
    return varied()


def tokens(rows, width, seed=0, vocabulary=VOCABULARY):
    return np.random.default_rng(seed).integers(4, vocabulary, (rows, width)).astype("int32")


def closed(source):
    return np.concatenate([source, np.full((len(source), 1), EOS, "int32")], axis=1)


SOURCE = closed(tokens(6, 5))


def search(model, source, beam=1, **kwargs):
    """As `translate_ids` sets it, a translation has at most 1.5 x 6 + 5 tokens."""
    options = {"tokens_per_batch": 36 * beam, "bucket_boundaries": (6,), "beam": beam}
    return translate_ids(model, [list(row) for row in source], **{**options, **kwargs})


def log_probabilities(model, source, target):
    """log p of every next token by the whole model, without any cache: (B, T, V), float64."""
    rows, length = target.shape
    # One shape, so that it is compiled once: what comes later cannot be seen (test_transformer).
    spare = ((0, -rows % 8), (0, -length % 15))
    inputs = {"source": np.pad(source, (spare[0], (0, 0))), "target": np.pad(target, spare)}
    logits = np.float64(model.predict_on_batch(inputs))[:rows, :length]
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def before_eos(row):
    row = list(row)
    return row[: row.index(EOS)] if EOS in row else row


# Greedy search ------------------------------------------------------------------------------------


def greedy_without_cache(model, source, length):
    """The definition: run the whole model again for every token."""
    out = np.full((len(source), 1), BOS, "int32")
    for _ in range(length):
        chosen = log_probabilities(model, source, out)[:, -1].argmax(-1).astype("int32")
        out = np.concatenate([out, chosen[:, None]], axis=1)
    return [list(itertools.takewhile(lambda t: t not in (EOS, PAD), row[1:])) for row in out]


@pytest.mark.parametrize("switches", [(), CACHEABLE])
def test_cached_greedy_search_is_the_search_without_a_cache(switches):
    model = varied(switches=switches, seed=1 if switches else 0, max_length=30)
    slow = greedy_without_cache(model, SOURCE, 14)
    assert search(model, SOURCE) == slow
    assert len({tuple(row) for row in slow}) > 1
    assert switches or len({len(row) for row in slow}) > 1


@backend
def test_without_a_causal_mask_a_translation_is_that_of_the_prefix_alone():
    """Against one call of the model for each prefix, cut and not masked."""
    model = varied(switches=(*CACHEABLE, "no_causal_mask"), max_length=7, num_layers=1)
    opened = np.pad(SOURCE, ((0, 0), (1, 0)), constant_values=BOS)
    found = search(model, opened, bucket_boundaries=(7,))
    prefix = np.full((6, 1), BOS)
    for _ in range(3):
        scores = forward(model, {"source": opened, "target": prefix})
        prefix = np.concatenate([prefix, scores[:, -1:].argmax(-1)], axis=1)
    for row, words in zip(found, prefix[:, 1:], strict=True):
        assert row[:3] == list(itertools.takewhile(lambda t: t not in (EOS, PAD), words))
        assert len(row) <= 6  # the last of seven positions was never trained
    with pytest.raises(UserError, match="set beam to 1"):
        search(model, opened, beam=2)


def test_forced_tokens_are_the_models_own_and_its_likelihood(model):
    target = np.pad(tokens(6, 14, seed=2), ((0, 0), (1, 0)), constant_values=BOS)
    predicted, nll = teacher_forced(model, SOURCE, target)
    log_p = log_probabilities(model, SOURCE, target[:, :-1])
    assert (predicted == log_p.argmax(-1)).mean() > 0.95
    expected = -np.take_along_axis(log_p, target[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(nll, expected, rtol=1e-3, atol=1e-4)


# Beam search --------------------------------------------------------------------------------------


def exhaustive(model, source, length, penalty):
    """The best closed sequence of at most `length` tokens, EOS included, by trying all of them."""
    vocabulary = model.settings["vocabulary"]
    others = [token for token in range(vocabulary) if token != EOS]
    found = []
    for size in range(length):
        bodies = np.array(list(itertools.product(others, repeat=size)), "int32")
        bodies = bodies.reshape(len(bodies), size)
        target = np.pad(bodies, ((0, 0), (1, 0)), constant_values=BOS)
        log_p = log_probabilities(model, np.repeat(source, len(target), axis=0), target)
        score = log_p[:, -1, EOS] + sum(
            log_p[np.arange(len(bodies)), place, bodies[:, place]] for place in range(size)
        )
        score = score / ((5 + size + 1) / 6) ** penalty
        found.append((score.max(), [*bodies[score.argmax()].tolist(), EOS]))
    return max(found)


@pytest.fixture(scope="module")
def tiny():
    return varied(vocabulary=5, seed=4)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_that_holds_everything_finds_what_exhaustive_search_finds(tiny, penalty):
    model = tiny
    source = closed(tokens(4, 3, vocabulary=5))[2 * int(penalty) :][:2]
    # After three tokens other than EOS there are 4 x 4 x 4 open hypotheses.
    rows, scores = map(ops.convert_to_numpy, BeamSearch(model, 4, 64, penalty).search(source))
    lengths = set()
    for i in range(len(source)):
        score, best = exhaustive(model, source[i : i + 1], 4, penalty)
        assert [*before_eos(rows[i, 0]), EOS] == best
        assert scores[i, 0] == pytest.approx(score, abs=1e-4)
        lengths.add(len(best))
    assert np.all(np.diff(scores, axis=1) <= 0)
    assert max(lengths) > 1  # or one step alone would have been tested


def beam_without_cache(model, source, length, beam, penalty):
    """Beam search of one sentence in plain Python, the whole model anew for every token."""
    live, done = [(0.0, [])], []
    for _ in range(length):
        target = np.array([[BOS, *words] for _, words in live], "int32")
        log_p = log_probabilities(model, np.repeat(source, len(live), axis=0), target)[:, -1]
        grown = [
            (score + step, [*words, token])
            for (score, words), row in zip(live, log_p, strict=True)
            for token, step in enumerate(row)
        ]
        grown = sorted(grown, key=lambda pair: -pair[0])[: 2 * beam]
        ended = [pair for pair in grown if pair[1][-1] == EOS]
        done += [(score / ((5 + len(w)) / 6) ** penalty, w) for score, w in ended]
        done = sorted(done, key=lambda pair: -pair[0])[:beam]
        live = [pair for pair in grown if pair[1][-1] != EOS][:beam]
    return before_eos((done or live)[0][1])


@backend
def test_cached_beam_search_is_the_search_without_a_cache(model):
    fast = search(model, SOURCE, beam=3)
    slow = [beam_without_cache(model, row[None], 14, 3, 1.0) for row in SOURCE[:3]]
    assert fast[:3] == slow
    assert fast != search(model, SOURCE) and len({len(row) for row in fast}) > 1


def total(model, source, words):
    """log p(words, EOS | source)."""
    target = np.array([[BOS, *words]], "int32")
    log_p = log_probabilities(model, source[None], target)[0]
    return sum(log_p[place, token] for place, token in enumerate([*words, EOS]))


def test_a_beam_of_one_is_greedy_until_it_ends(model):
    """Without a length penalty no longer hypothesis can overtake the first closed one."""
    one = search_model(model, BeamSearch, 14, 1, 0.0).predict_on_batch(SOURCE)
    greedy = search(model, SOURCE)
    ended = [i for i, row in enumerate(greedy) if len(row) < 14]
    assert ended
    # Beam search goes on from the second best token after the first closing, and may find better.
    for i in ended:
        first, second = before_eos(one[i]), greedy[i]
        assert first == second or total(model, SOURCE[i], first) > total(model, SOURCE[i], second)


def test_nothing_follows_the_end(model):
    rows = search_model(model, BeamSearch, 14, 3, 1.0).predict_on_batch(SOURCE)
    ended = [row.tolist() for row in rows if EOS in row]
    assert len(ended) > 1
    assert all(set(row[row.index(EOS) + 1 :]) <= {PAD} for row in ended)


def test_length_penalty():
    assert [float(length_norm(n, 0.0)) for n in (1, 7)] == [1.0, 1.0]
    assert float(length_norm(7, 1.0)) == pytest.approx(2.0)


def test_batch_size_and_neighbours_do_not_change_a_translation(model, beam=3):
    rows = tokens(len(LENGTHS), max(LENGTHS))
    source = [[*row[:length], EOS] for row, length in zip(rows, LENGTHS, strict=True)]
    options = {"bucket_boundaries": (10,), "beam": beam}
    together = translate_ids(model, source, tokens_per_batch=80, **options)
    options["tokens_per_batch"] = 10 * beam
    assert together[:3] == [translate_ids(model, [row], **options)[0] for row in source[:3]]


@pytest.mark.parametrize("beam", [1, 3])
def test_an_empty_source_gives_a_translation_and_a_long_one_is_cut(model, beam):
    found = search(model, [[EOS], [*range(4, 12), EOS], [*range(4, 9), EOS]], beam)
    assert isinstance(found[0], list) and found[1] == found[2]


def test_a_beam_of_nothing_is_refused(model):
    with pytest.raises(UserError, match="The beam is 0"):
        BeamSearch(model, 5, 0)


# Plain text in, plain text out --------------------------------------------------------------------

TEXT = [
    f"a {noun} is {verb}ing the {other} ."
    for noun, verb, other in itertools.product(
        ("man", "dog", "child"), ("see", "eat", "hold"), ("ball", "tree", "house")
    )
]


@pytest.fixture(scope="module")
def words():
    return Subwords.train(TEXT, 60)


@pytest.fixture(scope="module")
def reader(words):
    return varied(len(words))


def test_sentences_keep_their_order_and_the_empty_stays_empty(reader, words):
    sentences = ["a man is seeing the tree .", "", "a dog .", "  "]
    options = {"bucket_boundaries": (16,), "beam": 2}
    out = translate(reader, words, sentences, **options)
    assert [bool(text) for text in out] == [True, False, True, False]
    assert translate(reader, words, [sentences[2], sentences[0]], **options) == [out[2], out[0]]
    # What is partly unknown is translated.
    assert isinstance(translate(reader, words, ["a 猫 is eating ."], **options)[0], str)


@pytest.mark.parametrize("text", ["Это кот", "猫が座っている", "🙂 🙃"])
def test_what_is_all_unknown_is_refused(reader, words, text):
    with pytest.raises(UserError, match="occurred in the training text"):
        translate(reader, words, ["a man .", text])


def test_what_is_too_long_is_refused_and_counted(reader, words):
    long = " ".join(["a man is seeing the tree ."] * 30)
    length = len(words.encode([long])[0])
    with pytest.raises(UserError, match=f"has {length} subwords, and at most 127"):
        translate(reader, words, [long])


@pytest.mark.backend
def test_what_stands_in_for_arg_max_and_top_k_is_exact():
    """The first of equal maxima, and the largest of many numbers, by way of groups or not."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 2000)).astype("float32")
    logits[0, [7, 1999]] = 9.0  # a tie
    found = ops.convert_to_numpy(decoding.most_probable(ops.convert_to_tensor(logits)))
    np.testing.assert_array_equal(found, logits.argmax(axis=-1))
    for size in (2000, 1999, 80):  # in groups; no multiple of a group; too few for groups
        part = np.ascontiguousarray(logits[1:, :size])
        parts = decoding.largest(ops.convert_to_tensor(part), 8)
        best, place = map(ops.convert_to_numpy, parts)
        np.testing.assert_array_equal(best, -np.sort(-part, axis=-1)[:, :8])
        np.testing.assert_array_equal(np.take_along_axis(part, place.astype(int), axis=-1), best)

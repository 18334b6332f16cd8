"""What a trained translator is scored on, soundly and as the paper's code scores it.

A published run stores all evaluations of its model: their differences are the evaluation's alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sgblend_utils.data.text import EOS, PAD, UNK, pad, words_of
from sgblend_utils.decoding import teacher_forced, translate_ids
from sgblend_utils.metrics import published_bleu, translation_scores
from sgblend_utils.probes import dead_units, published_dead_share
from sgblend_utils.tasks.train import Batches
from sgblend_utils.tasks.translation import DECODING_TOKENS, PairSplit, TranslationSettings

END = "<end>"
PUBLISHED_SENTENCES = 100  # that the published BLEU is computed of
PUBLISHED_ROWS = 100  # training rows that the published probe of dead units looks at
EXAMPLES, SHOWN = 5, ("source", "reference", "output")


def decode(model: Any, settings: TranslationSettings, source: Sequence[list[int]]) -> list[Any]:
    options = {"beam": settings.beam, "length_penalty": settings.length_penalty}
    sizes = {"bucket_boundaries": settings.bucket_boundaries, "tokens_per_batch": DECODING_TOKENS}
    return translate_ids(model, source, **sizes, **options)


def described(model: Any, data: Any, texts: list[str], pairs: Sequence[Any]) -> dict[str, Any]:
    """Scores of translations against the pairs' targets, dead units, the first translations."""
    inputs = (data.validation[i][0] for i in range(len(data.validation)))
    real = ((ids, {stream: part != PAD for stream, part in ids.items()}) for ids in inputs)
    shown = list(zip(pairs, texts, strict=True))[:EXAMPLES]
    return {
        **translation_scores(texts, [target for _, target in pairs]),
        **dead_units(model.hidden_states, real, model.activation_sites()),
        "examples": [dict(zip(SHOWN, (*pair, text), strict=True)) for pair, text in shown],
    }


def per_character(nll_sum: float, rows: PairSplit, whole: Sequence[Sequence[int]]) -> float:
    """Cross-entropy in nats per character of the target text, its end counted as one.

    Of a sentence that was cut, as many characters count as its share of scored tokens; `whole` has
    the ids of the uncut targets.
    """
    parts = zip(rows.pairs, rows.target, whole, strict=True)
    characters = sum(
        (len(text) + 1) * min(1.0, (len(row) - 1) / (len(ids) + 1)) for (_, text), row, ids in parts
    )
    return round(nll_sum / characters, 5)


def sound(model: Any, task: Any, settings: TranslationSettings, data: Any) -> dict[str, Any]:
    test = data.splits["test"]
    # Of the pairs that the cross-entropy is taken over: too long ones are not in the batches.
    scored = test.fitting()
    batches = task.batches(settings, scored)
    scores = model.evaluate(Batches(batches), verbose=0, return_dict=True)
    texts = data.vocabulary[1].decode(decode(model.transformer, settings, test.source))
    tokens = sum(len(row) - 1 for row in scored.target)
    whole = [row[1:-1] for row in scored.target]
    return {
        **described(model.transformer, data, texts, test.pairs),
        "test_nll": round(scores["nll"], 5),
        "test_nll_per_character": per_character(scores["nll"] * tokens, scored, whole),
        "test_accuracy": round(scores["accuracy"], 5),
        "test_pairs_too_long": int((~test.fits).sum()),
    }


def lower_words(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[list[str]]:
    """Ids -> lower-cased words of each row; `<end>` stays where it stands, padding vanishes."""
    out = []
    for row in rows:
        pieces: list[list[int]] = [[]]
        for token in row:
            if token == EOS:
                pieces.append([])
            elif token != PAD:
                pieces[-1].append(int(token))
        out.append(f" {END} ".join(tokenizer.decode(pieces)).lower().split())
    return out


def token_scores(predicted: np.ndarray, nll: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Teacher-forced accuracy and cross-entropy, over all positions and over real words alone.

    Saying "unknown" of an unknown word is never right: with a capped vocabulary it would be the
    easiest guess of all.  `copy_accuracy_…` is what a model gets that repeats the next word of its
    own input, which is the answer; at the last position, where there is none, it says padding.
    `predicted` and `nll` are (N, T − 1), of the labels `target[:, 1:]`, `target` is (N, T).
    """
    labels = target[:, 1:]
    real, known = labels != PAD, labels != UNK
    copied = np.pad(labels[:, :-1], ((0, 0), (0, 1)), constant_values=PAD)
    out = {"padding_share": np.mean(~real), "unknown_share": np.mean(~known[real])}
    for name, where in (("all", np.ones_like(real)), ("real", real)):
        out[f"accuracy_{name}"] = np.mean((known & (predicted == labels))[where])
        out[f"copy_accuracy_{name}"] = np.mean((known & (copied == labels))[where])
        out[f"nll_{name}"] = np.mean(nll[where], dtype="float64")
    return {name: round(float(value), 5) for name, value in out.items()}


def published(model: Any, task: Any, settings: TranslationSettings, data: Any) -> dict[str, Any]:
    """The metrics of the published protocol.

    `reported_…` are the numbers that the paper's code would print; `bleu`, `test_…` and `dead_…`
    mean what they mean in `sound`; `evaluations` holds the steps between.
    """
    transformer, tokenizer = model.transformer, data.vocabulary[1]
    evaluations: dict[str, dict[str, Any]] = {}

    def bleu(ids: Any, pairs: Sequence[tuple[str, str]]) -> float:
        references = [[*words_of(text), END] for _, text in pairs]
        return published_bleu(lower_words(tokenizer, ids), references)

    sizes = {"validation": PUBLISHED_SENTENCES, "test": settings.decoded_sentences}
    for name, sentences in sizes.items():
        rows, first = data.splits[name], slice(sentences)
        scored = rows.fitting()
        rows = rows if name == "test" else scored
        length = settings.bucket_boundaries[-1] + (not settings.fixed_length)
        source, target = pad(scored.source, length), pad(scored.target, length)
        predicted, nll = teacher_forced(transformer, source, target)
        free = decode(transformer, settings, rows.source[first])
        evaluations[name] = {
            **token_scores(predicted, nll, target),
            "sentences": len(free),
            "forced_bleu": bleu(predicted[first], scored.pairs[first]),
            "free_bleu": bleu([[*row, EOS] for row in free], rows.pairs[first]),
        }
    # The names of the loop's last round: the test set.
    texts = tokenizer.decode(free)
    pairs = rows.pairs[first]
    total = float(nll[target[:, 1:] != PAD].sum(dtype="float64"))
    whole = tokenizer.encode([text for _, text in scored.pairs])
    counted = "all" if settings.padding_in_loss else "real"
    probed = task.batches(settings, data.splits["train"].fitting(PUBLISHED_ROWS))
    inputs = (probed[i][0] for i in range(len(probed)))
    return {
        "reported_accuracy": evaluations["validation"][f"accuracy_{counted}"],
        "reported_bleu": evaluations["validation"]["forced_bleu"],
        "reported_dead_share": published_dead_share(transformer, inputs),
        **described(transformer, data, texts, pairs),
        "decoded_sentences": len(texts),
        "test_nll": evaluations["test"]["nll_real"],
        "test_nll_per_character": per_character(total, scored, whole),
        "test_accuracy": evaluations["test"]["accuracy_real"],
        "evaluations": evaluations,
    }

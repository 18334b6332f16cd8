"""Scores of translations and of classifiers, each from the library that defines it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from sacrebleu.metrics import BLEU, CHRF
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

BOOTSTRAP = 1000  # resamples of the test sentences for the 95 % interval
BINS = 15  # of confidence, as in Guo et al. 2017


def translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """BLEU and chrF with signatures and a bootstrap interval; NLTK's BLEU beside them.

    BLEU is sacreBLEU's (Post 2018): 13a tokenisation, cased, 0-100.  `bleu_interval` is the
    half-width of the 95 % bootstrap interval over sentences (Koehn 2004).  `nltk_bleu` (0-1,
    white-space tokens, smoothing 1) is there because the paper's numbers come from NLTK.
    """
    bleu = BLEU()
    score = bleu.corpus_score(list(hypotheses), [list(references)], n_bootstrap=BOOTSTRAP)
    # The signature is that of the point estimate, which does not depend on the bootstrap.
    plain = BLEU()
    plain.corpus_score(list(hypotheses), [list(references)])
    chrf = CHRF()
    chrf_score = chrf.corpus_score(list(hypotheses), [list(references)])
    nltk_bleu = corpus_bleu(
        [[reference.split()] for reference in references],
        [hypothesis.split() for hypothesis in hypotheses],
        smoothing_function=SmoothingFunction().method1,
    )
    return {
        "bleu": round(score.score, 4),
        "bleu_interval": round(score._ci, 4),
        "bleu_signature": str(plain.get_signature()),
        "brevity_penalty": round(score.bp, 4),
        "chrf": round(chrf_score.score, 4),
        "chrf_signature": str(chrf.get_signature()),
        "nltk_bleu": round(float(nltk_bleu), 4),
    }


def classification_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Accuracy with its interval, cross-entropy, calibration and confusion of a test set.

    Args:
        labels: (N,) integers in [0, C).
        probabilities: (N, C), each row summing to one.

    Returns:
        `test_accuracy` with `test_accuracy_low` and `test_accuracy_high` (Wilson's 95 % interval,
        which is about the test examples and not about seeds), `test_nll` (nats per example), `ece`
        (see `calibration_error`) and `confusion`: C rows, true class by predicted class, counts.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, "float64")
    predicted = probabilities.argmax(axis=1)
    hits = int((predicted == labels).sum())
    interval = binomtest(hits, len(labels)).proportion_ci(method="wilson")
    likelihood = probabilities[np.arange(len(labels)), labels]
    classes = np.arange(probabilities.shape[1])
    return {
        "test_accuracy": round(hits / len(labels), 5),
        "test_accuracy_low": round(float(interval.low), 5),
        "test_accuracy_high": round(float(interval.high), 5),
        "test_nll": round(float(-np.log(np.maximum(likelihood, 1e-12)).mean()), 5),
        "ece": round(calibration_error(labels, probabilities), 5),
        "confusion": confusion_matrix(labels, predicted, labels=classes).tolist(),
    }


def binary_scores(labels: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """`classification_scores` of two classes, with `f1` and `roc_auc` of the class 1.

    Args:
        labels: (N,), 0 or 1, both of which occur.
        positive: (N,) probabilities of 1.
    """
    labels, positive = np.asarray(labels), np.asarray(positive, "float64")
    scores = classification_scores(labels, np.stack([1.0 - positive, positive], axis=1))
    f1 = f1_score(labels, positive > 0.5, zero_division=0.0)
    return {
        **scores,
        "f1": round(float(f1), 5),
        "roc_auc": round(float(roc_auc_score(labels, positive)), 5),
    }


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean |accuracy − confidence| over bins of equal width.

    Confidence is the probability of the predicted class, (N, C) -> (N,); bins count by how many
    examples they hold (Guo et al. 2017, eq. 3).  0 to 1; 0 is perfect.
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, hit - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))

"""Scores of translations and of classifiers, each from the library that defines it."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from sacrebleu.metrics import BLEU, CHRF
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

BOOTSTRAP = 1000  # resamples of the test sentences for the 95 % interval


def translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """SacreBLEU's BLEU and chrF (Post 2018; 13a tokenisation, cased, 0-100) with their signatures.

    `bleu_interval` is the half-width of the 95 % bootstrap interval over sentences (Koehn 2004).
    `nltk_bleu` (0-1, white-space tokens) is there because the paper's numbers come from NLTK.
    """
    hypotheses, references = list(hypotheses), list(references)
    score = BLEU().corpus_score(hypotheses, [references], n_bootstrap=BOOTSTRAP)
    # The signature is that of the point estimate, which does not depend on the bootstrap.
    plain, chrf = BLEU(), CHRF()
    plain.corpus_score(hypotheses, [references])
    chrf_score = chrf.corpus_score(hypotheses, [references])
    words = [[text.split() for text in texts] for texts in (hypotheses, references)]
    return {
        "bleu": round(score.score, 4),
        "bleu_interval": round(score._ci, 4),
        "bleu_signature": str(plain.get_signature()),
        "brevity_penalty": round(score.bp, 4),
        "chrf": round(chrf_score.score, 4),
        "chrf_signature": str(chrf.get_signature()),
        "nltk_bleu": round(published_bleu(*words), 4),
    }


def published_bleu(outputs: Sequence[list[str]], references: Sequence[list[str]]) -> float:
    """NLTK's corpus BLEU of words (0-1), with the smoothing of the published code."""
    gold, smooth = [[reference] for reference in references], SmoothingFunction().method1
    return round(float(corpus_bleu(gold, list(outputs), smoothing_function=smooth)), 5)


def classification_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Scores of labels (N,) in [0, C) and probabilities (N, C), each row summing to one.

    `test_accuracy` has Wilson's 95 % interval, about the test examples and not about seeds;
    `test_nll` is in nats per example, `confusion` in counts, true class by predicted class;
    `test_correct` has a bit per example, see `correct_of`.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, "float64")
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    hits = int(correct.sum())
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
        "test_correct": base64.b64encode(np.packbits(correct)).decode(),
    }


def correct_of(metrics: dict[str, Any]) -> np.ndarray:
    """(N,) bool: which test examples a run got right; the confusion matrix knows how many."""
    bits = np.frombuffer(base64.b64decode(metrics["test_correct"]), "uint8")
    return np.unpackbits(bits, count=int(np.sum(metrics["confusion"]))).astype(bool)


def binary_scores(labels: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """Scores of labels (N,), 0 and 1, and probabilities of 1 (N,); with `f1` and `roc_auc` of 1."""
    labels, positive = np.asarray(labels), np.asarray(positive, "float64")
    scores = classification_scores(labels, np.stack([1.0 - positive, positive], axis=1))
    f1 = f1_score(labels, positive > 0.5, zero_division=0.0)
    auc = roc_auc_score(labels, positive)
    return scores | {"f1": round(float(f1), 5), "roc_auc": round(float(auc), 5)}


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): mean |accuracy − confidence| over bins.

    Confidence is the probability of the predicted class; bins of equal width count by examples.
    """
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    members = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(members, hit - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))

"""Scores of a set of translations, each from the library that defines it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from sacrebleu.metrics import BLEU, CHRF

BOOTSTRAP = 1000  # resamples of the test sentences for the 95 % interval


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

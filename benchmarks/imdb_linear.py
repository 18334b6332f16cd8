"""What a user would try first on IMDB: tf-idf of words and pairs of words, logistic regression.

``python -m benchmarks.imdb_linear`` trains it on the sound protocol's split, chooses how much to
regularise on the validation reviews, and writes data/bench/imdb_linear.json.
"""

import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline

from sgblend_utils.bench import bench_path
from sgblend_utils.config import RunConfig
from sgblend_utils.data.reviews import plain_text
from sgblend_utils.metrics import binary_scores
from sgblend_utils.runs import write_record
from sgblend_utils.tasks.train import environment, git_commit

STRENGTHS = (3.0, 10.0, 30.0)  # inverse regularisation
WORDS = {"ngram_range": (1, 2), "min_df": 3, "sublinear_tf": True}


def measure() -> dict[str, Any]:
    config = RunConfig("imdb", "gelu", preset="cpu")
    splits, _ = config.task_object.texts(config)
    texts = {name: [plain_text(text) for text in rows.texts] for name, rows in splits.items()}
    began = time.perf_counter()
    models = [
        make_pipeline(TfidfVectorizer(**WORDS), LogisticRegression(C=c, max_iter=300))
        for c in STRENGTHS
    ]
    losses = []
    for model in models:
        model.fit(texts["train"], splits["train"].labels)
        predicted = model.predict_proba(texts["validation"])
        losses.append(float(log_loss(splits["validation"].labels, predicted)))
    best = losses.index(min(losses))
    positive = models[best].predict_proba(texts["test"])[:, 1]
    scores = binary_scores(splits["test"].labels, positive)
    return {
        "bench": "imdb_linear",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {"words": WORDS, "C": STRENGTHS[best]},
        "validation_nll": dict(zip(map(str, STRENGTHS), losses, strict=True)),
        "metrics": {k: v for k, v in scores.items() if k != "test_correct"},
        "seconds": round(time.perf_counter() - began, 1),
        "train_reviews": len(texts["train"]),
        **environment(),
        "scikit_learn": version("scikit-learn"),
        "git_commit": git_commit(),
    }


if __name__ == "__main__":
    write_record(record := measure(), bench_path("imdb_linear"))
    print(record["metrics"]["test_accuracy"], record["seconds"])

"""Translating Multi30k's 1,000 test sentences: our searches, and CTranslate2's with our weights."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

PROCESSES = {
    "ours": {"KERAS_BACKEND": "jax"},
    "CTranslate2": {"KERAS_BACKEND": "jax"},
    "from the shell": {"KERAS_BACKEND": "jax"},
}
ROUNDS, REPEATS = 7, 2
SENTENCE = "A man is riding a bicycle."
SEARCHES = {"greedy": 1, "beam of 4": 4}


def contestants(process: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    from sgblend_utils import runs
    from sgblend_utils.config import RunConfig
    from sgblend_utils.data import project_root

    config = RunConfig("multi30k", "gelu", preset="cpu")
    root = project_root() / "data" / "cache" / "bench"
    os.environ[runs.STORE] = str(root)
    key = runs.read_record(runs.run(config, root=root))["key"]
    if process == "from the shell":
        words = [sys.executable, "-m", "sgblend_utils.cli", "translate", "--run", key, SENTENCE]
        run = partial(subprocess.run, words, check=True, capture_output=True)
        return {"one sentence": lambda: run() and None}, {}
    model, tokenizer = runs.load_model(key)
    source = config.task_object.load(config).splits["test"].source
    settings, found = config.settings, {}
    functions = ours(model, source, settings, found)
    if process == "CTranslate2":
        functions = theirs(model, tokenizer, source, settings, found)
    for function in functions.values():
        function()
    outputs = {
        search: [hashlib.sha256(str(row).encode()).hexdigest()[:6] for row in rows]
        for search, rows in found.items()
    }
    return functions, {"sentences": len(source), "outputs": outputs}


def ours(model: Any, source: Any, settings: Any, found: dict[str, Any]) -> dict[str, Any]:
    from sgblend_utils.decoding import translate_ids
    from sgblend_utils.tasks.translation import DECODING_TOKENS

    options = {"tokens_per_batch": DECODING_TOKENS, "length_penalty": settings.length_penalty}
    options["bucket_boundaries"] = settings.bucket_boundaries

    def search(name: str) -> None:
        found[name] = translate_ids(model, source, beam=SEARCHES[name], **options)

    return {name: partial(search, name) for name in SEARCHES}


def theirs(model: Any, tokenizer: Any, source: Any, settings: Any, found: Any) -> dict[str, Any]:
    from benchmarks import ctranslate2_model
    from sgblend_utils.decoding import EXPANSION, EXTRA
    from sgblend_utils.tasks.translation import DECODING_TOKENS

    with tempfile.TemporaryDirectory() as folder:
        ctranslate2_model.convert(model, tokenizer, folder)
        translator = ctranslate2_model.load(folder, threads=len(os.sched_getaffinity(0)))
    longest = int(EXPANSION * settings.bucket_boundaries[-1]) + EXTRA
    options = {"tokens_per_batch": DECODING_TOKENS, "length_penalty": settings.length_penalty}
    options["max_length"] = longest

    def search(name: str) -> None:
        found[name] = ctranslate2_model.translate_ids(
            translator, tokenizer, source, beam=SEARCHES[name], **options
        )

    return {name: partial(search, name) for name in SEARCHES}


def finish(record: dict[str, Any]) -> None:
    """Of how many sentences both found the same translation, in place of the translations."""
    parts = record["processes"]
    outputs = [one["facts"].pop("outputs", None) for one in parts.values()]
    both = [found for found in outputs if found]
    if len(both) == 2:
        record["same"] = {
            search: sum(a == b for a, b in zip(*(found[search] for found in both), strict=True))
            for search in SEARCHES
        }


def reference(process: str, contestant: str) -> str:
    return f"CTranslate2: {contestant}"

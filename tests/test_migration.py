"""Records of schema 1 become records of schema 2: other names and keys, the same numbers."""

import importlib.util
import json
from pathlib import Path

import pytest

from sgblend_utils.config import RunConfig
from sgblend_utils.report.experiments import experiments
from sgblend_utils.runs import load_records
from sgblend_utils.tasks import registry

PATH = Path(__file__).parents[1] / "data" / "migrate_records.py"
spec = importlib.util.spec_from_file_location("migrate_records", PATH)
migration = importlib.util.module_from_spec(spec)
spec.loader.exec_module(migration)

TRANSLATION = {"max_samples": None, "vocabulary": 4000, "d_model": 128, "num_heads": 4}
TRANSLATION |= {"ff_dim": 256, "num_layers": 2, "dropout": 0.1, "label_smoothing": 0.1}
TRANSLATION |= {"epochs": 8, "tokens": 768, "widths": [12, 15, 18, 22, 28, 44], "warmup": 0.1}
TRANSLATION |= {"learning_rate": 2e-3, "weight_decay": 0.0, "clip": 1.0}
TODAY = {"gated": False, "schedule": "cosine", "average": 5, "beam": 4, "length_penalty": 1.0}
FLAWS = ["reversed_direction", "no_causal_mask", "padding_in_loss", "no_padding_masks"]
FLAWS += ["head_of_file", "tail_validation", "early_stopping_on_reported_split", "word_tokens"]
FLAWS += ["front_truncation", "shared_activation", "published_activation", "post_norm"]
FLAWS += ["wide_key_dim", "extra_head"]
PUBLISHED = {"max_samples": 6000, "vocabulary_cap": 2000, "length": 50, "d_model": 64}
PUBLISHED |= {"num_heads": 2, "ff_dim": 128, "num_layers": 2, "dropout": 0.1, "epochs": 3}
PUBLISHED |= {"batch_size": 32, "learning_rate": 2e-3, "patience": 2, "decoded_sentences": 300}
REVIEWS = ["repeated_reviews", "tokenizer_fitted_on_test", "word_tokens", "cls_is_a_word"]
REVIEWS += ["front_truncation", "no_padding_mask", "padding_averaged", "shared_activation"]
REVIEWS += ["published_activation", "post_norm", "wide_key_dim", "validation_reported"]
REVIEWS += ["early_stopping_on_reported_split"]
IMDB = {"model": "small", "max_samples": None, "vocabulary": 10_000, "subword_reviews": 6000}
IMDB |= {"length": 200, "d_model": 32, "num_heads": 2, "ff_dim": 32, "num_layers": 2}
IMDB |= {"dropout": 0.1, "epochs": 4, "batch_size": 64, "learning_rate": 1e-3, "patience": 3}
DIGESTS = {"wmt14": "a" * 16, "multi30k": "b" * 16, "imdb": "c" * 16}
PROBED = {"dead_share": 0.1, "near_dead_share": 0.1, "dead_by_site": {}, "near_dead_by_site": {}}


def write(root, task, protocol, settings, name, metrics, overrides=None):
    config = {"task": task, "protocol": protocol, "preset": "cpu", "activation": "sgblend"}
    record = {
        "schema": 1,
        "key": name,
        "config": {**config, "seed": 0, "overrides": overrides or {}, "settings": settings},
        "data": {"digest": "old", "train_pairs": 5400},
        "history": [{"epoch": 1, "val_accuracy": 0.5, "cpu_seconds": 1.5}],
        "metrics": {"test_accuracy": 0.4321, "dead_share": 0.01, **metrics},
        "activation_parameters": [],
        "timing": {"compile_seconds": 9.0, "epoch_seconds_median": 1.0, "total_seconds": 2.0},
        "parameters": 10,
        "peak_rss_bytes": 20,
        "backend": "jax",
        "versions": {},
        "hardware": {"processor": "Some CPU", "cores": 1},
        "git_commit": "abc",
        "created": "2026-01-01",
    }
    path = root / task / f"cpu-{protocol}-sgblend-s0-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return record


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A small old store, migrated in place: its new records by what they are."""
    root = tmp_path_factory.mktemp("results")
    write(root, "multi30k", "sound", {**TRANSLATION, **TODAY}, "today", {"bleu": 30.0})
    write(root, "multi30k", "sound", {**TRANSLATION, "epochs": 5}, "earlier", {"bleu": 29.0})
    evaluations = {"readings": {"validation": {"forced_bleu": 0.5}}, "reported_bleu": 0.5}
    for flaws, override in ((FLAWS, {}), (FLAWS[2:], {"flaws": FLAWS[2:]})):
        settings = {**PUBLISHED, "flaws": flaws}
        write(root, "wmt14", "published", settings, str(len(flaws)), evaluations, override)
    scores = {"reported_accuracy": 0.9, "reported_dead_share": 0.2, "validation": {}, **PROBED}
    write(root, "imdb", "published", {**IMDB, "flaws": REVIEWS}, "reviews", scores)
    paths = migration.migrate(root, root, DIGESTS)
    frame = load_records(root)
    return root, paths, {(r["config"]["task"], i): r for i, r in enumerate(frame["record"])}


def test_old_files_go_and_new_ones_lie_under_their_keys(moved):
    root, paths, records = moved
    assert len(paths) == 5 and not any(path.exists() for path in paths)
    assert [path.name for path, new in paths.items() if new is None] == [
        "cpu-sound-sgblend-s0-earlier.json"
    ]
    assert {path.stem.split("-")[-1] for path in root.glob("*/*.json")} == {
        record["key"] for record in records.values()
    }
    assert migration.migrate(root, root, DIGESTS) == {}  # nothing of schema 1 is left


def test_records_are_found_as_runs_of_today(moved):
    _, _, records = moved
    keys = {record["key"] for record in records.values()}
    steps = {"reversed_direction": False, "no_causal_mask": False}
    expected = [
        RunConfig("multi30k", preset="cpu"),
        RunConfig("wmt14", protocol="published", preset="cpu"),
        RunConfig("wmt14", protocol="published", preset="cpu", overrides=steps),
        RunConfig("imdb", protocol="published", preset="cpu"),
    ]
    assert keys == {config.key(DIGESTS[config.task]) for config in expected}
    for record in records.values():
        config = record["config"]
        today = registry()[config["task"]].presets[config["protocol"], config["preset"]]
        changed = type(today)().override(config["settings"]).differing(today)
        assert set(changed) <= set(steps)


def test_no_measured_number_changes(moved):
    for record in moved[2].values():
        assert record["schema"] == 2 and record["config"]["backend"] == "jax"
        assert "backend" not in record and "overrides" not in record["config"]
        assert record["data"] == {"digest": DIGESTS[record["config"]["task"]], "train_pairs": 5400}
        assert record["metrics"]["test_accuracy"] == 0.4321
        assert record["history"] == [{"epoch": 1, "val_accuracy": 0.5, "cpu_seconds": 1.5}]
        assert record["timing"] == {"epoch_seconds_median": 1.0, "total_seconds": 2.0}
        if record["config"]["task"] == "wmt14":
            assert record["metrics"]["evaluations"] == {"validation": {"forced_bleu": 0.5}}
            assert "readings" not in record["metrics"]


def test_scores_on_held_out_reviews_that_were_trained_on_are_dropped(moved):
    (record,) = [r for r in moved[2].values() if r["config"]["task"] == "imdb"]
    kept = {"test_accuracy": 0.4321, "reported_accuracy": 0.9, "reported_dead_share": 0.2}
    assert record["metrics"] == kept
    for other in moved[2].values():
        assert other is record or "dead_share" in other["metrics"]


def test_the_committed_store_is_of_todays_presets():
    root = PATH.parents[1] / "data" / "results"
    assert {e.slug for e in experiments(root) if not e.overrides} == {
        e.slug for e in experiments(root)
    }

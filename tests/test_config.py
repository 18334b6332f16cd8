"""The record key outlives improvements, and changes where a number would."""

import dataclasses
import json
from dataclasses import dataclass

import pytest

from sgblend_utils import config as c
from sgblend_utils.config import RunConfig, Settings, record_key, stored_presets, switch_meanings
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import registry
from sgblend_utils.tasks.sentiment import SentimentSettings
from sgblend_utils.tasks.translation import TranslationSettings

ROWS = "0123456789abcdef"
PILOT = {  # IMDB's preset when its first records were made
    **{"vocabulary": 8000, "lower_case": False, "length": 320, "buckets": 4, "d_model": 64},
    **{"num_heads": 2, "dropout": 0.3, "word_dropout": 0.0, "epochs": 3},
}
RUNS = {
    "multi30k": RunConfig("multi30k", "sgblend", preset="cpu"),
    "wmt14": RunConfig("wmt14", "gelu", "published", "cpu", seed=3),
    "imdb": RunConfig("imdb", "sgblend(parameterization=published)", preset="cpu", overrides=PILOT),
    "cifar10": RunConfig(
        "cifar10", "relu", preset="cpu", overrides={"epochs": 3, "model": "resnet8"}
    ),
}
each_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def grown(run):
    """`run` in a program whose settings have one more of each kind, off by default."""
    kind = type(run.settings)
    fields = [("invented", int, c.count(7)), ("invented_switch", bool, c.switch("Nonsense."))]
    more = dataclasses.make_dataclass("More", fields, bases=(kind,), frozen=True)
    return more(**{f.name: getattr(run.settings, f.name) for f in dataclasses.fields(kind)})


@each_run
def test_a_new_setting_or_switch_changes_no_key(run):
    described = run.describe() | {"settings": grown(run).differing()}
    assert record_key(described, ROWS) == run.key(ROWS)


@each_run
def test_what_a_number_depends_on_changes_the_key(run):
    key = run.key(ROWS)
    other = {"seed": run.seed + 1, "activation": "mish", "backend": "torch"}
    others = [dataclasses.replace(run, **{name: value}) for name, value in other.items()]
    others.append(dataclasses.replace(run, overrides={**run.overrides, "epochs": 77}))
    keys = [one.key(ROWS) for one in others] + [run.key("f" * 16)]
    raised = run.describe() | {"version": run.describe()["version"] + 1}
    keys.append(record_key(raised, ROWS))
    assert len({key, *keys}) == len(keys) + 1


def test_keys_are_those_that_stored_records_have():
    keys = [run.key(ROWS) for run in RUNS.values()]
    assert keys == PINNED, "a stored record would no longer be found"


def test_the_name_of_a_preset_is_not_in_the_key_and_its_values_are():
    described = RUNS["multi30k"].describe()
    assert record_key(described | {"preset": "other"}, ROWS) == RUNS["multi30k"].key(ROWS)
    changed = described | {"settings": {**described["settings"], "epochs": 9}}
    assert record_key(changed, ROWS) != RUNS["multi30k"].key(ROWS)


def test_options_of_an_activation_are_part_of_the_run():
    plain = RunConfig("multi30k", "sgblend")
    assert RunConfig("multi30k", "sgblend( parameterization=free )") == plain
    spelled = RunConfig("multi30k", "sgblend(gelu=sigmoid, parameterization=published)")
    other = RunConfig("multi30k", "sgblend(parameterization='published',gelu='sigmoid')")
    assert spelled == other and spelled.key(ROWS) == other.key(ROWS) != plain.key(ROWS)
    bounded = RunConfig("multi30k", "sgblend(alpha_bounds=[0, 1], trainable_parameters=[alpha])")
    assert bounded.key(ROWS) not in (plain.key(ROWS), spelled.key(ROWS))


def test_a_record_holds_what_differs_from_the_defaults_as_json():
    described = RUNS["wmt14"].describe()
    assert json.loads(json.dumps(described)) == described
    assert described["settings"]["no_causal_mask"] is True
    assert "d_model" not in described["settings"]
    again = TranslationSettings().override(described["settings"])
    assert again == RUNS["wmt14"].settings


def test_published_presets_have_every_switch_on_and_sound_ones_none():
    for task in registry().values():
        for (protocol, _), settings in task.presets.items():
            every = tuple(switch_meanings(type(settings)))
            assert settings.switches == (every if protocol == "published" else ())


def test_the_paper_preset_is_the_papers():
    tables = {
        "wmt14": dict(max_samples=50_000, epochs=10, d_model=64, ff_dim=128, num_heads=2)
        | dict(num_layers=2, learning_rate=1e-4, patience=2, bucket_boundaries=(50,))
        | dict(tokens_per_batch=64 * 50, dropout=0.1, vocabulary=None),
        "imdb": dict(vocabulary=10_000, length=200, d_model=32, ff_dim=32, num_heads=2)
        | dict(num_layers=2, learning_rate=1e-4, epochs=15, patience=3)
        | dict(tokens_per_batch=64 * 200, watched_split="test"),
        "imdb_bert": dict(vocabulary=None, length=256, d_model=64, ff_dim=128, num_heads=2)
        | dict(num_layers=2, learning_rate=1e-4, epochs=25, patience=2)
        | dict(tokens_per_batch=32 * 256, watched_split="validation"),
    }
    for task, facts in tables.items():
        settings = registry()[task].presets["published", "paper"]
        assert {name: getattr(settings, name) for name in facts} == facts
    assert registry()["imdb"].presets["sound", "cpu"].watched_split == "validation"


@dataclass(frozen=True)
class Small(Settings):
    rows: int = c.count(5)
    rate: float = c.number(0.1)


def test_wrong_names_and_values_are_named():
    for overrides, message in (
        ({"epochs": 0}, "epochs is 0; give a positive whole number"),
        ({"epoch": 3}, "Unknown setting 'epoch'"),
        ({"bucket_boundaries": [20, 10]}, "increasing"),
        ({"dropout": 1.0}, "below 1"),
        ({"schedule": "linear"}, "cosine"),
        ({"no_causal_mask": 1}, "true or false"),
    ):
        with pytest.raises(UserError, match=message):
            RunConfig("multi30k", overrides=overrides)
    for wrong, message in (
        ({"task": "wmt15"}, "multi30k"),
        ({"protocol": "loud"}, "sound"),
        ({"preset": "huge"}, "sound preset of wmt14 'huge': choose one of .*mini"),
        ({"protocol": "published", "preset": "full"}, "published preset of wmt14 'full'"),
        ({"seed": -1}, "whole number from 0 on"),
        ({"backend": "abacus"}, "tensorflow"),
        ({"activation": "sgblend(colour=red)"}, "colour"),
        ({"activation": "gelo"}, "gelu"),
    ):
        with pytest.raises(UserError, match=message):
            RunConfig(**{"task": "wmt14", **wrong})
    with pytest.raises(UserError, match="rows is 0"):
        Small(rows=0)


def test_presets_are_values_over_defaults():
    for task, kind in (("imdb_bert", SentimentSettings), ("wmt14", TranslationSettings)):
        presets = stored_presets(task, kind)
        assert presets == registry()[task].presets
    assert presets["sound", "mini"].differing(presets["sound", "cpu"]).keys() >= {"vocabulary"}
    assert (
        presets["sound", "cpu"].differing() == RunConfig("wmt14", preset="cpu").settings.differing()
    )
    assert registry()["imdb_bert"].presets["sound", "cpu"].model == "bert"


PINNED = ["958117111cd626e4", "67a1471510e8e9d3", "8d3a454a16db2de5", "0808b2e912d0277b"]

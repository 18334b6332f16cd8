"""The models in `data/models` translate in a fresh clone, without training."""

import io
from zipfile import ZipFile

import h5py
import keras
import numpy as np
import pytest

from sgblend_utils import cli, runs
from sgblend_utils.activations.layers import SGBlend
from sgblend_utils.data import project_root
from sgblend_utils.decoding import translate

NAMES = ("multi30k_gelu", "multi30k_sgblend")
SENTENCES = {"A man is riding a bicycle.": ("Mann", "Fahrrad"), "Two dogs play.": ("Hunde",)}


@pytest.fixture(autouse=True)
def no_runs_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_translates(name):
    folder = project_root() / "data" / "models" / name
    assert (folder / "model.keras").stat().st_size <= 3 * 2**20
    with ZipFile(folder / "model.keras") as file:
        weights = h5py.File(io.BytesIO(file.read("model.weights.h5")))
    kinds = []
    weights.visititems(lambda _, item: kinds.append(getattr(item, "dtype", None)))
    assert np.float16 in kinds and np.float32 not in kinds
    model, subwords = runs.load_model(name)
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.weights} == {"float32"}
    sites = [layer for layer, _ in model.activation_sites().values()]
    assert all(isinstance(layer, SGBlend) == (name == "multi30k_sgblend") for layer in sites)
    for text, words in zip(
        translate(model, subwords, list(SENTENCES)), SENTENCES.values(), strict=True
    ):
        assert all(word in text for word in words), text


def test_the_command_needs_no_training_and_shows_both_models(capsys):
    sentence = next(iter(SENTENCES))
    assert cli.main(["translate", sentence]) == 0
    alone = capsys.readouterr().out
    assert cli.main(["translate", sentence, sentence, "--compare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(alone.splitlines()) == 1 and len(lines) == 4
    assert [line.split()[0] for line in lines] == ["multi30k_sgblend", "multi30k_gelu"] * 2
    assert lines[0].endswith(alone.strip()) and lines[:2] == lines[2:]

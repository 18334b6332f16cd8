"""Write a model of this folder: `python data/models/make.py KEY NAME`, for a run of this machine.

Weights go to float16, half of their size; Keras reads them into float32 variables.  Says how well
the test set is translated before and after, where its data are at hand.
"""

import io
import shutil
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import h5py
import numpy as np

from sgblend_utils import runs
from sgblend_utils.cli import choose_backend


def halved(content: bytes) -> bytes:
    """An HDF5 file with float16 for float32."""
    out = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(out, "w") as new:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                half = item.dtype == np.float32
                made = new.create_dataset(name, data=item[()].astype("float16") if half else item)
            else:
                made = new.require_group(name)
            made.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)
    return out.getvalue()


def make(key: str, name: str) -> None:
    (folder,) = runs.models_root().glob(f"{key}*")
    target = Path(__file__).parent / name
    target.mkdir(exist_ok=True)
    with (
        ZipFile(folder / "model.keras") as old,
        ZipFile(target / "model.keras", "w", ZIP_DEFLATED) as new,
    ):
        for part in old.namelist():
            content = old.read(part)
            new.writestr(ZipInfo(part), halved(content) if part.endswith(".h5") else content)
    shutil.copy(folder / "subwords.model", target)


def compare(key: str, name: str) -> None:
    """Print BLEU of the run's model and of its copy, and how many translations differ."""
    from sgblend_utils.data.text import load_pairs
    from sgblend_utils.decoding import translate
    from sgblend_utils.metrics import translation_scores
    from sgblend_utils.tasks import task_named

    sources, references = zip(*load_pairs(task_named("multi30k").source, "test"), strict=True)
    texts = [translate(*runs.load_model(each), sources) for each in (key, name)]
    scores = [translation_scores(one, references) for one in texts]
    differ = sum(a != b for a, b in zip(*texts, strict=True))
    print(f"BLEU {scores[0]['bleu']:.2f}, in float16 {scores[1]['bleu']:.2f}", end="; ")
    print(f"{differ} of {len(sources)} translations differ")


if __name__ == "__main__":
    choose_backend(None)
    make(*sys.argv[1:])
    compare(*sys.argv[1:])

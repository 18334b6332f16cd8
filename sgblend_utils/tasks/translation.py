"""Translation: WMT14 English-German and Multi30k, under the sound and the published protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgblend_utils import config as c
from sgblend_utils.config import RunConfig, stored_presets
from sgblend_utils.data import taken, text
from sgblend_utils.data.batches import PairBatches
from sgblend_utils.data.source import Source
from sgblend_utils.data.text import Subwords, Words, frame, load_pairs, mini_digest, mini_pairs
from sgblend_utils.tasks import Loaded
from sgblend_utils.tasks.text import TextSettings, TextTask, subword_files

SPLITS = ("train", "validation", "test")
TAIL = 0.1  # share of the pairs, at their end, that the published code validates on
SUBSET_SEED = 0  # of the shuffle before a subset is cut: the same pairs for every run
DECODING_TOKENS = 2048  # padded positions at once; has no influence on the translations
SIZES = ("d_model", "num_heads", "ff_dim", "num_layers", "gated", "dropout", "switches")


@dataclass(frozen=True)
class TranslationSettings(TextSettings):
    gated: bool = c.flag(False)  # feed-forward: GEGLU with gelu, SwiGLU with silu, at equal size
    bucket_boundaries: tuple[int, ...] = c.boundaries((50,))
    average: int = c.count(1)  # checkpoints whose mean is tried at the end
    beam: int = c.count(1)  # hypotheses kept in the search; 1 is greedy
    length_penalty: float = c.number(0.0)  # exponent of Wu et al. 2016, eq. 14
    memory_mapped: bool = c.flag(False)  # the training pairs are on disk and not in memory
    subword_pairs: int | None = c.optional_count()  # that memory-mapped subwords are learned from
    decoded_sentences: int | None = c.optional_count()  # of the test set, published protocol

    reversed_direction: bool = c.switch("German to English is trained under the opposite label.")
    no_causal_mask: bool = c.switch("The decoder sees the words that it is asked to predict.")
    padding_in_loss: bool = c.switch("Padding counts as a word, in loss and accuracy.")
    head_of_file: bool = c.switch("The first pairs of the file are taken: one parliament session.")
    tail_validation: bool = c.switch("The last tenth of these validates, and no set is a test.")
    fixed_length: bool = c.switch("Every sentence is padded to one length; sources have a BOS.")
    extra_head: bool = c.switch("One more layer and activation before the softmax.")
    untied_embeddings: bool = c.switch(
        "Source, target and softmax have matrices of their own, which start small."
    )
    learned_positions: bool = c.switch("Positions are learned embeddings.")


@dataclass(frozen=True)
class PairSplit:
    """The pairs of one split and their ids, closed by EOS and cut to the longest length.

    Pairs that do not fit take no part in training and cross-entropy.
    """

    pairs: Sequence[tuple[str, str]]  # source and target text, in the direction of translation
    source: Sequence[list[int]]
    target: Sequence[list[int]]  # opened by BOS
    fits: np.ndarray  # (N,) bool: the pair was not cut, or cut pairs are used

    def fitting(self, count: int | None = None) -> PairSplit:
        """The (first `count`) pairs that fit."""
        rows = np.flatnonzero(self.fits)[:count]
        parts = ([part[i] for i in rows] for part in (self.pairs, self.source, self.target))
        return PairSplit(*parts, self.fits[rows])  # type: ignore[call-arg]


class Translation(TextTask):
    """Encoder-decoder translation (Vaswani et al. 2017)."""

    def pairs(self, config: RunConfig) -> dict[str, list[tuple[str, str]]]:
        """The text of each split; a subset is drawn at random, since files are in blocks."""
        settings = config.settings
        held_out = SPLITS[1:] if settings.memory_mapped else SPLITS
        if config.preset == "mini":
            pairs = dict(mini_pairs())
        else:
            pairs = {split: load_pairs(self.source, split) for split in held_out}
        if "train" in pairs:
            train = pairs["train"]
            wanted = taken(settings.max_samples, len(train), "pairs")
            order = np.random.default_rng(SUBSET_SEED).permutation(len(train))
            chosen = range(wanted) if settings.head_of_file else order[:wanted]
            pairs["train"] = [train[i] for i in chosen]
        if settings.reversed_direction:
            pairs = {name: [(de, en) for en, de in rows] for name, rows in pairs.items()}
        return pairs

    def tokenizers(self, settings: TranslationSettings, pairs: list[tuple[str, str]]) -> list[Any]:
        """Source and target tokenizer of `pairs`; the same one unless words are untied."""
        both = [text for pair in pairs for text in pair]
        if not settings.word_tokens:
            return [Subwords.train(both, settings.vocabulary)] * 2
        sides = (both[::2], both[1::2]) if settings.untied_embeddings else (both,)
        return [Words.fit(texts, settings.vocabulary) for texts in sides] * (3 - len(sides))

    def encode(self, settings: TranslationSettings, pairs: Any, tokenizers: list[Any]) -> PairSplit:
        length = settings.bucket_boundaries[-1] + (not settings.fixed_length)
        ids = [tokenizer.encode([p[i] for p in pairs]) for i, tokenizer in enumerate(tokenizers)]
        (source, whole), (target, as_well) = (
            frame(rows, length, settings.front_truncation) for rows in ids
        )
        source = source if settings.fixed_length else [row[1:] for row in source]
        return PairSplit(pairs, source, target, whole & as_well | settings.front_truncation)

    def batches(self, settings: TranslationSettings, rows: PairSplit, seed: Any = None) -> Any:
        """Bucketed batches; without `fixed_length` sources are not opened and lengths differ."""
        return PairBatches(
            rows.source,
            rows.target,
            tokens_per_batch=settings.tokens_per_batch,
            bucket_boundaries=settings.bucket_boundaries,
            seed=seed,
            rows_weighted=settings.padding_in_loss,
            target_shorter=settings.fixed_length,
        )

    def load(self, config: RunConfig) -> Loaded:
        settings = config.settings
        pairs = self.pairs(config)
        described: dict[str, Any] = {}
        if settings.memory_mapped:
            sizes = (settings.vocabulary, settings.subword_pairs, settings.max_samples)
            tokenizer, train = text.tokenised_corpus(self.source, *sizes, SUBSET_SEED)
            tokenizers = [tokenizer] * 2
            batches = self.batches(settings, train, config.seed)
            described = {"train_pairs": len(train), "train_pairs_too_long": batches.dropped}
        else:
            whole = pairs["train"]
            if settings.tail_validation:
                cut = len(whole) - round(TAIL * len(whole))
                pairs |= {"train": whole[:cut], "validation": whole[cut:]}
            # As published, the words of a validation tail are counted too.
            counted = whole if settings.word_tokens else pairs["train"]
            tokenizers = self.tokenizers(settings, counted)
        splits = {}
        for name, rows in pairs.items():
            splits[name] = split = self.encode(settings, rows, tokenizers)
            described[f"{name}_pairs"] = len(rows)
            described[f"{name}_pairs_too_long"] = int((~split.fits).sum())
        if "train" in splits:
            batches = self.batches(settings, splits["train"].fitting(), config.seed)
        validation = self.batches(settings, splits["validation"].fitting())
        described["vocabularies"] = [len(tokenizer) for tokenizer in tokenizers]
        files = subword_files(tokenizers[0])
        return Loaded(batches, validation, splits, described, tokenizers, files)

    def build(self, config: RunConfig, data: Loaded) -> Any:
        from sgblend_utils.models.transformer import Transformer, TranslationObjective

        settings = config.settings
        source, target = map(len, data.vocabulary)
        sizes = {name: getattr(settings, name) for name in SIZES}
        sizes |= {"activation": config.activation, "seed": config.seed}
        sizes |= {"target_vocabulary": target} if settings.untied_embeddings else {}
        if settings.learned_positions:
            sizes["max_length"] = settings.bucket_boundaries[-1]
        model = TranslationObjective(Transformer(source, **sizes), settings.label_smoothing)
        model.build()
        return model

    def callbacks(self, config: RunConfig, model: Any, data: Loaded, log: Any) -> list[Any]:
        from sgblend_utils.tasks.callbacks import CheckpointAverage

        count, epochs = config.settings.average, config.settings.epochs
        return [CheckpointAverage(count, epochs * len(data.train), epochs)] if count > 1 else []

    def deployed(self, model: Any) -> Any:
        return model.transformer

    def evaluate(
        self, config: RunConfig, model: Any, data: Loaded, log: Any, keeper: Any
    ) -> dict[str, Any]:
        from sgblend_utils.tasks import evaluation
        from sgblend_utils.tasks.train import Batches

        settings = config.settings
        if config.protocol == "published":
            return evaluation.published(model, self, settings, data)
        validation = Batches(data.validation)
        chosen = keeper.adopt_if_better(model, validation) if settings.average > 1 else {}
        return chosen | evaluation.sound(model, self, settings, data)


WMT14_SOURCE = Source(
    *("wmt14", "wmt/wmt14", "de-en", "b199e406369ec1b7634206d3ded5ba45de2fe696"),
    fields={side: (("translation", side), "string") for side in ("en", "de")},
    splits=SPLITS,
    train_rows=50_000,  # of 4.5 million
)
MULTI30K_SOURCE = Source(
    # A branch, not a commit: the commit that it stands for is noted in the manifest.
    *("multi30k", "bentrevett/multi30k", None, "main"),
    fields={side: ((side,), "string") for side in ("en", "de")},
    splits=SPLITS,
)
TASKS = [
    Translation(source.name, source, stored_presets(source.name, TranslationSettings), mini_digest)
    for source in (WMT14_SOURCE, MULTI30K_SOURCE)
]

"""What the translation and the sentiment tasks share: settings, switches, early stopping."""

from dataclasses import dataclass
from typing import Any

from sgblend_utils import config as c
from sgblend_utils.data.text import Subwords
from sgblend_utils.tasks import Task


@dataclass(frozen=True)
class TextSettings(c.Settings):
    """Settings of a Transformer's run; the sizes by default are the paper's command line's."""

    max_samples: int | None = c.optional_count()  # training examples; None takes all
    vocabulary: int | None = c.optional_count()  # subwords, or commonest words; None: every word
    d_model: int = c.count(64)
    num_heads: int = c.count(2)
    ff_dim: int = c.count(128)
    num_layers: int = c.count(2)
    dropout: float = c.share(0.1)
    label_smoothing: float = c.share(0.0)
    epochs: int = c.count(10)
    tokens_per_batch: int = c.count(64 * 50)  # padded positions
    learning_rate: float = c.number(1e-4)  # at the end of the warm-up
    schedule: str = c.one_of("constant", "cosine", "inverse_sqrt")
    warmup: float = c.share(0.0)  # share of all steps
    beta_2: float = c.share(0.999)
    weight_decay: float = c.number(0.0)
    clip: float = c.number(0.0)  # global gradient norm; 0: none
    patience: int = c.count(2)  # epochs, where training stops early
    frozen_twin: bool = c.flag(False)  # α, β, γ are fixed where the same run without this ended

    word_tokens: bool = c.switch("Lower-cased words, counted on held-out text too.")
    front_truncation: bool = c.switch("Long texts lose their beginning and its mark.")
    no_padding_masks: bool = c.switch("Attention looks at padding.")
    shared_activation: bool = c.switch("One activation layer serves all sites.")
    published_activation: bool = c.switch("α is bounded twice, β may be < 0, GELU is x σ(1.7 x).")
    post_norm: bool = c.switch("Normalisation after the residual sum, not before the branch.")
    wide_key_dim: bool = c.switch("Each head is as wide as the model.")
    early_stopping_on_reported_split: bool = c.switch("Training stops by the reported split.")


class TextTask(Task):
    def compile(self, config: c.RunConfig, model: Any, steps: int, **options: Any) -> None:
        from sgblend_utils.tasks.callbacks import make_optimizer

        optimizer = make_optimizer(config.settings, steps, model)
        model.compile(optimizer=optimizer, jit_compile=config.backend != "torch", **options)


def subword_files(tokenizer: Any) -> dict[str, bytes]:
    """The file in which a trained model keeps its subwords; none for words."""
    return {"subwords.model": tokenizer.model} if isinstance(tokenizer, Subwords) else {}

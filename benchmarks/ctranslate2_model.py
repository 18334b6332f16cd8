"""Our translation model in CTranslate2, an engine made for nothing but fast translation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgblend_utils.data.text import EOS, Subwords
from sgblend_utils.errors import UserError


def library() -> Any:
    """The optional package."""
    try:
        import ctranslate2
    except ImportError as error:
        raise UserError("This needs CTranslate2: pip install ctranslate2.") from error
    return ctranslate2


def copy_dense(linear: Any, *layers: Any) -> None:
    """Keras Dense layers, side by side, into one of CTranslate2's."""
    kernels, biases = zip(*(layer.get_weights() for layer in layers), strict=True)
    linear.weight = np.ascontiguousarray(np.concatenate(kernels, axis=1).T)
    linear.bias = np.concatenate(biases)


def copy_norm(spec: Any, norm: Any) -> None:
    spec.gamma, spec.beta = norm.get_weights()


def copy_block(spec: Any, block: Any) -> None:
    attention, cross = block.self_attention, block.cross_attention
    copy_norm(spec.self_attention.layer_norm, block.norms[0])
    copy_dense(spec.self_attention.linear[0], attention.to_query, attention.to_key_value)
    copy_dense(spec.self_attention.linear[1], attention.to_output)
    if cross is not None:
        copy_norm(spec.attention.layer_norm, block.norms[1])
        denses = (cross.to_query, cross.to_key_value, cross.to_output)
        for linear, dense in zip(spec.attention.linear, denses, strict=True):
            copy_dense(linear, dense)
    copy_norm(spec.ffn.layer_norm, block.norms[-1])
    copy_dense(spec.ffn.linear_0, block.expand)
    copy_dense(spec.ffn.linear_1, block.contract)


def convert(transformer: Any, tokenizer: Subwords, folder: str | Path) -> Path:
    """Write our Keras `Transformer` (sound protocol, GELU) as a CTranslate2 model directory."""
    specs = library().specs
    settings = transformer.settings
    if settings["activation"] != "gelu" or settings["gated"] or settings["switches"]:
        raise UserError("CTranslate2 knows the sound protocol's model with plain GELU only.")
    gelu = {"activation": specs.common_spec.Activation.GELU}  # by the error function, as ours
    sizes = (settings["num_layers"], settings["num_heads"])
    spec = specs.TransformerSpec.from_config(*sizes, pre_norm=True, **gelu)
    (embedding,) = transformer.embedding.get_weights()
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = embedding
    spec.decoder.projection.weight = embedding
    for name in ("encoder", "decoder"):
        half = getattr(spec, name)
        half.position_encodings.encodings = np.asarray(transformer.positions, "float32")
        copy_norm(half.layer_norm, getattr(transformer, f"{name}_norm"))
        for layer, block in zip(half.layer, getattr(transformer, name), strict=True):
            copy_block(layer, block)
    pieces = tokenizer.processor.id_to_piece(list(range(len(tokenizer))))
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.layer_norm_epsilon = transformer.encoder_norm.epsilon
    spec.validate()
    spec.optimize()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    return folder


def load(folder: str | Path, threads: int = 1, device: str = "cpu") -> Any:
    """A `ctranslate2.Translator` that computes in float32."""
    options = {"compute_type": "float32", "inter_threads": 1, "intra_threads": threads}
    return library().Translator(str(folder), device, **options)


def translate_ids(
    translator: Any,
    tokenizer: Subwords,
    source: Sequence[Sequence[int]],
    *,
    tokens_per_batch: int,
    max_length: int,
    beam: int = 1,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """As ours in `decoding`: rows of ids closed by EOS -> ids without it; the order is kept.

    A translation has at most `max_length` tokens, EOS included.  CTranslate2 divides by
    length ** penalty, so of the hypotheses that it found the best by our norm is taken.
    """
    processor = tokenizer.processor
    results = translator.translate_batch(
        [processor.id_to_piece(list(map(int, row))) for row in source],
        max_batch_size=max(1, tokens_per_batch // beam),
        batch_type="tokens",
        beam_size=beam,
        num_hypotheses=beam,
        length_penalty=length_penalty if beam > 1 else 0,
        min_decoding_length=0,
        max_decoding_length=max_length,
        return_scores=True,
        return_end_token=True,
    )
    out = []
    for result in results:
        rows = [processor.piece_to_id(tokens) for tokens in result.hypotheses]

        def score(i: int, result: Any = result, rows: Any = rows) -> tuple[bool, float]:
            length = len(rows[i])
            log_p = result.scores[i] * length**length_penalty
            return rows[i][-1] == EOS, log_p / ((5 + length) / 6) ** length_penalty

        best = rows[max(range(len(rows)), key=score)]
        out.append(best[:-1] if best[-1] == EOS else best)
    return out

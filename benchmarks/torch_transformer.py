"""The translation model of the sound protocol in plain PyTorch, its loss and its training step."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgblend_utils.data.text import PAD
from sgblend_utils.errors import UserError


class Attention(nn.Module):
    def __init__(self, d_model: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.to_query = nn.Linear(d_model, d_model)
        self.to_key_value = nn.Linear(d_model, 2 * d_model)
        self.to_output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, memory: Tensor, mask: Any = None, causal: bool = False) -> Tensor:
        """Attend from `x` (B, T, d) to `memory` (B, S, d), where the boolean `mask` is true."""
        parts = self.to_query(x), *self.to_key_value(memory).chunk(2, dim=-1)
        heads = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        out = F.scaled_dot_product_attention(*heads, attn_mask=mask, is_causal=causal)
        return self.to_output(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Self-attention, attention over the source if `cross`, feed-forward; pre-norm."""

    def __init__(self, d_model, num_heads, ff_dim, dropout, activation, cross: bool):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(d_model, eps=1e-6) for _ in range(2 + cross))
        self.self_attention = Attention(d_model, num_heads)
        self.cross_attention = Attention(d_model, num_heads) if cross else None
        self.expand, self.contract = nn.Linear(d_model, ff_dim), nn.Linear(ff_dim, d_model)
        self.activation = copy.deepcopy(activation)  # a module's parameters are each block's own
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, source_mask: Tensor, memory: Tensor | None = None) -> Tensor:
        y = self.norms[0](x)
        if self.cross_attention is None:
            x = x + self.drop(self.self_attention(y, y, source_mask))
        else:
            # Target padding comes after every real token: causality hides it.
            x = x + self.drop(self.self_attention(y, y, causal=True))
            y = self.norms[1](x)
            x = x + self.drop(self.cross_attention(y, memory, source_mask))
        y = self.activation(self.expand(self.norms[-1](x)))
        return x + self.drop(self.contract(y))


def sinusoids(length: int, d_model: int) -> Tensor:
    steps = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = torch.arange(length)[:, None] / 10_000 ** (steps / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :d_model].float()


class Transformer(nn.Module):
    """`settings` have the sizes; `activation` is a function, or a module that is copied."""

    def __init__(
        self,
        settings: Any,
        vocabulary: int,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        max_length: int = 512,
    ):
        super().__init__()
        if settings.switches or settings.gated:
            raise UserError("This is the sound protocol's model without gates: turn both off.")
        d, rate = settings.d_model, settings.dropout
        sizes = (d, settings.num_heads, settings.ff_dim, rate, activation)
        layers = range(settings.num_layers)
        self.embedding = nn.Embedding(vocabulary, d)  # of source, target and softmax
        self.register_buffer("positions", sinusoids(max_length, d), persistent=False)
        self.drop = nn.Dropout(rate)
        self.encoder = nn.ModuleList(Block(*sizes, cross=False) for _ in layers)
        self.decoder = nn.ModuleList(Block(*sizes, cross=True) for _ in layers)
        self.encoder_norm, self.decoder_norm = (nn.LayerNorm(d, eps=1e-6) for _ in range(2))
        nn.init.normal_(self.embedding.weight, std=d**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def embed(self, ids: Tensor) -> Tensor:
        scale = self.embedding.embedding_dim**0.5
        return self.drop(self.embedding(ids) * scale + self.positions[: ids.shape[1]])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Ids (B, S) and (B, T) -> logits (B, T, vocabulary) of the next target tokens."""
        mask = (source != PAD)[:, None, None, :]
        memory = self.embed(source)
        for block in self.encoder:
            memory = block(memory, mask)
        memory, x = self.encoder_norm(memory), self.embed(target)
        for block in self.decoder:
            x = block(x, mask, memory)
        return F.linear(self.decoder_norm(x), self.embedding.weight)


def tensors(batch: Any, device: Any = "cpu") -> list[Tensor]:
    """Source, target and labels of a batch of our `PairBatches`."""
    inputs, labels = batch
    arrays = inputs["source"], inputs["target"], labels
    return [torch.from_numpy(array).to(device, torch.long) for array in arrays]


def token_loss(model: nn.Module, source, target, labels, label_smoothing: float) -> Tensor:
    """Mean label-smoothed cross-entropy of the real target tokens."""
    options = {"ignore_index": PAD, "label_smoothing": label_smoothing}
    return F.cross_entropy(model(source, target).flatten(0, 1), labels.flatten(), **options)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels decay; biases, norms, embeddings and an activation's parameters do not."""
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    chosen = set(kernels)
    others = [p for p in model.parameters() if p not in chosen]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others}]


def make_scheduler(optimizer: torch.optim.Optimizer, settings: Any, steps: int) -> Any:
    """Linear warm-up from zero, then half a cosine to zero or an inverse square root."""
    warmup = max(1, int(settings.warmup * steps))

    def factor(step: int) -> float:
        if settings.schedule == "constant":
            return 1.0
        if step < warmup:
            return step / warmup
        if settings.schedule == "inverse_sqrt":
            return (warmup / step) ** 0.5
        return (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - warmup)))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def make_optimizer(settings: Any, steps: int, model: nn.Module) -> tuple[Any, Any]:
    """AdamW and its schedule, for `train_step`; the second moment's epsilon is Keras's."""
    groups = parameter_groups(model, settings.weight_decay)
    options = {"betas": (0.9, settings.beta_2), "eps": 1e-7, "weight_decay": 0.0, "fused": True}
    optimizer = torch.optim.AdamW(groups, settings.learning_rate, **options)
    return optimizer, make_scheduler(optimizer, settings, steps)


def train_step(model, optimizer, scheduler, batch, settings, loss=token_loss) -> Tensor:
    """One update from a batch of our `PairBatches`; the loss before it, not waited for.

    `loss` may be `torch.compile(token_loss, dynamic=False)`: one program per bucket.
    """
    parts = tensors(batch, model.positions.device)
    value = loss(model, *parts, settings.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    if settings.clip:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    scheduler.step()
    return value.detach()


@torch.no_grad()
def copy_weights(module: nn.Module, layer: Any) -> None:
    """The first weight of a Keras layer in PyTorch's order of axes, and the second if there is."""
    weight, *rest = (torch.from_numpy(np.array(array)) for array in layer.get_weights())
    if not isinstance(module, nn.Embedding):
        weight = weight.permute({1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[weight.ndim])
    module.weight.copy_(weight)
    if rest:
        module.bias.copy_(rest[0])


def load_keras_weights(model: Transformer, keras_model: Any) -> None:
    """Copy the weights of our Keras `Transformer`, without those of its activations.

    Layers have the same names in both.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.Linear | nn.LayerNorm):
            layer = keras_model
            for part in name.split("."):
                layer = layer[int(part)] if part.isdigit() else getattr(layer, part)
            copy_weights(module, layer)

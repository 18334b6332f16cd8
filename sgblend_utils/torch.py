"""SG-Blend as a PyTorch module; neither Keras nor TensorFlow is imported."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sgblend_utils import gate
from sgblend_utils.errors import UserError
from sgblend_utils.zoo import CHOICES, ZOO, choose

BLOCK = 2**18  # elements
_FORMS: dict[str, list[tuple[Callable[[Tensor], Tensor], dict[str, Any]]]] = {
    "gelu": [
        (functools.partial(nn.functional.gelu, approximate=how), {"alpha": 0.0, "gelu": form})
        for how, form in (("none", "erf"), ("tanh", "tanh"))
    ],
    "silu": [(nn.functional.silu, {"alpha": 1.0})],
}
_NAMES = {"gelu": ("gelu",), "silu": ("silu", "swish")}  # in configurations of transformers
_CONFIG_KEYS = ("hidden_act", "hidden_activation", "activation_function", "activation")


class _Torch:
    """The functions that `gate` asks for."""

    abs, exp, reshape = torch.abs, torch.exp, torch.reshape
    sigmoid, where, zeros_like = torch.sigmoid, torch.where, torch.zeros_like
    cast, dtype = lambda x, name: x.to(getattr(torch, name)), lambda x: str(x.dtype)[6:]
    fuses = lambda learned=(): torch.compiler.is_compiling()  # noqa: E731
    sum, sums_at_once = functools.partial(torch.sum, keepdim=True), True

    def erfc(x: Tensor) -> Tensor:  # which the same exporter has not got
        return 1.0 - torch.erf(x) if torch.jit.is_tracing() else torch.erfc(x)


def blended_gate(
    gelu: str | None = None, learned: tuple[str, ...] = ("alpha", "beta", "gamma")
) -> Callable[..., Tensor]:
    """The function (x, alpha, beta, gamma) -> `gate.value` with the gradient `gate.gradients`."""

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # as to export to ONNX, which looks into no function of its own
            return gate.value(_Torch, gelu, learned, x, *parameters)
        return _Blend.apply(gelu, learned, x, *parameters)

    return function


class _Blend(torch.autograd.Function):
    """Of a kind that `torch.compile` sees through; without a compiler in blocks."""

    @staticmethod
    def forward(context, gelu, learned, x, *parameters):
        context.save_for_backward(x, *parameters)
        context.kind = gelu, learned
        if _in_blocks(gelu, x, *parameters):
            return _block_value(gelu, x, *parameters)
        return gate.value(_Torch, gelu, learned, x, *parameters)

    @staticmethod
    def backward(context, upstream):
        x, *parameters = context.saved_tensors
        if _in_blocks(context.kind[0], x, *parameters):
            return None, None, *_block_gradients(*context.kind, x, upstream, *parameters)
        gelu, learned = context.kind
        return None, None, *gate.gradients(_Torch, gelu, learned, x, upstream, *parameters)


# Without a compiler on a CPU, each of two dozen operations would read and write main memory.  These
# are the formulas of `gate` for scalar parameters, in place and in blocks that stay in cache.


def _in_blocks(gelu, x, *others) -> bool:
    plain = gelu in (None, "erf") and x.dtype in (torch.float32, torch.float64)
    # Not where the gradient is to be differentiated again, or a graph made of the operations.
    graph = torch.compiler.is_compiling() or torch.is_grad_enabled()
    return plain and not graph and x.device.type == "cpu" and all(t.numel() == 1 for t in others)


def _block_value(gelu, x, alpha, beta, gamma):
    a, b, c = _numbers(gelu, alpha, beta, gamma)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    offset = torch.full((), -a * c, dtype=x.dtype)
    for x, y in _blocks(x, out):  # noqa: B020 - a block of each
        blend = torch.mul(x, b).sigmoid_()
        if gelu is not None:
            part = torch.mul(x, -gate.SQRT_HALF, out=y).erfc_().mul_((1.0 - a) / 2)
            blend = part.add_(blend, alpha=a)
        torch.addcmul(offset, blend, x, out=y)
    return out


def _block_gradients(gelu, learned, x, upstream, *parameters):
    a, b, c = _numbers(gelu, *parameters)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    d_alpha = d_beta = total = 0.0
    for x, u, y in _blocks(x, upstream, out):  # noqa: B020
        swish, scaled = torch.mul(x, b).sigmoid_(), u * x
        bump = torch.addcmul(swish, swish, swish, value=-1.0).mul_(x)
        slope = swish.add(bump, alpha=b)
        if gelu is not None:
            part = torch.mul(x, -gate.SQRT_HALF).erfc_().mul_(0.5)
            d_alpha += scaled.dot(swish.sub_(part))
            part.addcmul_(torch.mul(x, x).mul_(-0.5).exp_(), x, value=gate.INV_SQRT_2PI)
            slope.mul_(a).add_(part, alpha=1.0 - a)
        d_beta += scaled.dot(bump)
        total += u.sum()
        torch.mul(u, slope, out=y)
    sums = {"beta": a * d_beta, "gamma": -a * total}
    sums |= {"alpha": d_alpha - c * total} if gelu else {}
    named = zip(("alpha", "beta", "gamma"), parameters, strict=True)
    zero = torch.zeros_like(total)
    return out, *((sums.get(n, zero) if n in learned else zero).reshape(p.shape) for n, p in named)


def _numbers(gelu, alpha, beta, gamma):
    """The parameters as numbers; without GELU alpha counts as one."""
    return (alpha.item() if gelu else 1.0), beta.item(), gamma.item()


def _blocks(*tensors):
    return zip(*(tensor.reshape(-1).split(BLOCK) for tensor in tensors), strict=True)


class SGBlend(nn.Module):
    """SG-Blend: f(x) = alpha (x s(beta x) - gamma) + (1 - alpha) GELU(x), s the logistic function.

    Sarkar, Gala, Tripathi, "SG-Blend", NeurIPS 2025 (arXiv 2505.23942).  Any shape and floating
    dtype, which the result has too.  The gradient is written by hand and keeps only the input.  The
    parameters stay float32, whatever the model is cast to, and want no weight decay, see
    `no_decay_parameters`; make one module for each place.

    Args:
        alpha, beta, gamma: where the parameters start; alpha may be exactly 0 (GELU) or 1.
        gelu: "erf" (exact), "tanh", or "sigmoid" (x s(1.702 x), as published).
        shape: of each parameter, which broadcasts against the input: (C,) for one set per channel
            of (..., C), (C, 1, 1) of (B, C, H, W); by default one of each.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 1.0,
        gamma: float = 0.0,
        *,
        gelu: str = "erf",
        shape: tuple[int, ...] = (),
    ):
        super().__init__()
        self.gelu = choose("GELU form", gelu, CHOICES["gelu"])
        # Names with beta or gamma in them would be renamed by `from_pretrained` of transformers.
        for name, start in (("blend", alpha), ("slope", beta), ("offset", gamma)):
            parameter = torch.full(shape, float(start), dtype=torch.float32)
            self.register_parameter(name, nn.Parameter(parameter))

    def forward(self, x: Tensor) -> Tensor:
        return blended_gate(self.gelu)(x, self.blend, self.slope, self.offset)

    def effective_parameters(self) -> dict[str, Tensor]:
        """alpha, beta and gamma, detached."""
        found = (p.detach() for p in (self.blend, self.slope, self.offset))
        return dict(zip(ZOO["sgblend"].parameters, found, strict=True))

    def _apply(self, fn, recurse=True):
        def wide(tensor: Tensor) -> Tensor:  # to another device, but to no other floating dtype
            new = fn(tensor)
            return new if new.dtype == tensor.dtype else tensor.to(new.device)

        return super()._apply(wide, recurse)

    def extra_repr(self) -> str:
        return f"gelu={self.gelu!r}, shape={tuple(self.blend.shape)}"


def no_decay_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of all SGBlend modules, for a parameter group with `weight_decay=0`."""
    return [p for m in model.modules() if isinstance(m, SGBlend) for p in m.parameters()]


def swap_activation(model: nn.Module, source: str = "gelu", **kwargs: Any) -> nn.Module:
    """Put an SGBlend of its own in the place of every `source` ("gelu" or "silu"), in `model`.

    At first the function is the same, as at alpha = 0 SG-Blend is GELU (exact or tanh form), at
    alpha = 1 SiLU.  A place is recognised by the values of its function, be it a module or a plain
    function that is an attribute.  In a `transformers` model the configuration then names SG-Blend,
    so that `from_pretrained` finds it, after `register_with_transformers`.  `kwargs` are SGBlend's
    and go before the exact start.
    """
    choose("source", source, _FORMS)
    found = [(m, name, start) for m in model.modules() for name, start in _sites(m, source)]
    if not found:
        raise UserError(f"Nothing in this {type(model).__name__} applies {source}.")
    for module, name, start in found:
        where = next(module.parameters(), next(model.parameters(), torch.zeros(())))
        setattr(module, name, SGBlend(**start | kwargs).to(where.device))
        if hasattr(module, "activation_relu_or_gelu"):  # a shortcut of nn.TransformerEncoderLayer
            module.activation_relu_or_gelu = 0
    registered = spec({**found[0][2], **kwargs}.get("gelu", "erf"))
    for key in _CONFIG_KEYS:
        named = getattr(getattr(model, "config", None), key, None)
        if isinstance(named, str) and any(word in named for word in _NAMES[source]):
            setattr(model.config, key, registered)
    return model


def _sites(module: nn.Module, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Attributes of a module that are `source`, and where SGBlend starts to be the same."""
    probes = torch.linspace(-6.0, 6.0, 49)
    for name, function in {**vars(module), **module._modules}.items():
        own = isinstance(function, nn.Module) and any(True for _ in function.parameters())
        if name.startswith("_") or not callable(function) or isinstance(function, type) or own:
            continue
        try:
            with torch.no_grad():
                values = function(probes)
        except Exception:  # it may want something else altogether: then it is another function
            continue
        for form, start in _FORMS[source]:
            # The two forms of GELU differ by 5e-4.
            same = isinstance(values, Tensor) and values.shape == probes.shape
            if same and (values - form(probes)).abs().max() < 1e-5:
                yield name, start


def spec(gelu: str = "erf") -> str:
    """The name under which `register_with_transformers` registers a form."""
    return "sgblend" if gelu == "erf" else f"sgblend_{gelu}"


def register_with_transformers() -> None:
    """Let configurations of `transformers` name `sgblend`, `sgblend_tanh` and `sgblend_sigmoid`.

    Every place that asks gets a module of its own.
    """
    from transformers.activations import ACT2FN

    for form in CHOICES["gelu"]:
        ACT2FN[spec(form)] = (SGBlend, {"gelu": form})

"""The blended gate operation by operation, as PyTorch runs without a compiler on a CPU.

In place and in blocks that stay in cache, without which each of two dozen operations would read and
write main memory.  The formulas are those of `kernels`, for scalar parameters.
"""

import contextlib
import math

with contextlib.suppress(ImportError):  # every module can be imported, also without PyTorch
    import torch

BLOCK = 2**18  # elements
_SQRT_HALF, _INV_SQRT_2PI = math.sqrt(0.5), 1.0 / math.sqrt(2.0 * math.pi)


def fits(gelu, x, *others) -> bool:
    """Whether this module can stand in for `kernels`, and neither is seen by a compiler."""
    plain = gelu in (None, "erf") and x.dtype in (torch.float32, torch.float64)
    # Not where the gradient is to be differentiated again, or a graph made of the operations.
    graph = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_grad_enabled()
    return plain and not graph and x.device.type == "cpu" and all(t.numel() == 1 for t in others)


def value(gelu, x, alpha, beta, gamma):
    a, b, c = _numbers(gelu, alpha, beta, gamma)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    offset = torch.full((), -a * c, dtype=x.dtype)
    for x, y in _blocks(x, out):  # noqa: B020 - a block of each
        gate = torch.mul(x, b).sigmoid_()
        if gelu is not None:
            part = torch.mul(x, -_SQRT_HALF, out=y).erfc_().mul_((1.0 - a) / 2)
            gate = part.add_(gate, alpha=a)
        torch.addcmul(offset, gate, x, out=y)
    return out


def gradients(gelu, learned, x, upstream, *parameters):
    """Vector-Jacobian products with respect to x and the parameters alpha, beta and gamma."""
    a, b, c = _numbers(gelu, *parameters)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    d_alpha = d_beta = total = 0.0
    for x, u, y in _blocks(x, upstream, out):  # noqa: B020
        gate, scaled = torch.mul(x, b).sigmoid_(), u * x
        bump = torch.addcmul(gate, gate, gate, value=-1.0).mul_(x)
        slope = gate.add(bump, alpha=b)
        if gelu is not None:
            part = torch.mul(x, -_SQRT_HALF).erfc_().mul_(0.5)
            d_alpha += scaled.dot(gate.sub_(part))
            part.addcmul_(torch.mul(x, x).mul_(-0.5).exp_(), x, value=_INV_SQRT_2PI)
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

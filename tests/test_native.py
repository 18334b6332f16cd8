"""SG-Blend without Keras, in PyTorch, JAX, Flax and transformers: the same function everywhere."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from activation_tools import gelu_gate, sgblend, sigmoid
from packaging.requirements import Requirement

from sgblend_utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
POINT = {"alpha": 0.3, "beta": 1.4, "gamma": 0.6}
FORMS = ("erf", "tanh", "sigmoid")


def slopes(x, u, form):
    """The gradient of sum(u f) in float64: x by differences, the parameters by their formulas."""
    alpha, beta, gamma = POINT.values()
    s, step = sigmoid(beta * x), 1e-6
    moved = [sgblend(x + h, *POINT.values(), form) for h in (step, -step)]
    return {
        "x": u * (moved[0] - moved[1]) / (2 * step),
        "alpha": (u * (x * s - gamma - x * gelu_gate(x, form))).sum(),
        "beta": (u * alpha * x * x * s * (1 - s)).sum(),
        "gamma": -alpha * u.sum(),
    }


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (5, 7)), rng.normal(size=(5, 7))


def close(found, wanted, tolerance=1e-5):
    wanted = np.asarray(wanted)
    error = np.abs(np.asarray(found) - wanted).max()
    assert error < tolerance * max(1.0, np.abs(wanted).max()), error


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_neither_keras_nor_tensorflow_is_imported(module):
    pytest.importorskip(module)
    code = f"""
import sys, sgblend_utils.{module} as native
loaded = {{"keras", "tensorflow", "pandas", "scipy"}} & set(sys.modules)
assert not (loaded - ({{"scipy"}} if native.__name__.endswith("jax") else set())), loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# JAX ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_jax_function_has_the_values_and_slopes_of_the_formula(rows, form):
    jax = pytest.importorskip("jax")
    from sgblend_utils.jax import sgblend as ours

    x, u = rows
    wanted = slopes(x, u, form)
    single = [np.float32(v) for v in (x, *POINT.values())]
    for function in (ours, jax.jit(ours, static_argnames="gelu")):
        value, pull_back = jax.vjp(lambda *args, f=function: f(*args, gelu=form), *single)
        close(value, sgblend(x, *POINT.values(), form))
        for found, name in zip(pull_back(u.astype("float32")), wanted, strict=True):
            close(found, wanted[name])


def test_the_jax_function_takes_numbers_half_precision_and_channels(rows):
    jnp = pytest.importorskip("jax.numpy")
    from sgblend_utils.jax import sgblend as ours

    x, _ = rows
    half = ours(jnp.asarray(x, jnp.bfloat16), 0.3, 1.4, 0.6)
    assert half.dtype == jnp.bfloat16
    close(half.astype("float32"), sgblend(x, *POINT.values()), 2e-2)
    alpha = np.linspace(0, 1, 7).astype("float32")
    close(ours(np.float32(x), alpha), sgblend(x, alpha, 1.0, 0.0))
    with pytest.raises(UserError, match="Unknown GELU form 'exact'"):
        ours(np.float32(x), gelu="exact")


def test_the_flax_module_of_the_docstring_learns(rows):
    nnx = pytest.importorskip("flax.nnx")
    import jax
    import jax.numpy as jnp

    from sgblend_utils import jax as native

    lines = native.__doc__.split("\n\n", 2)[2]
    made = {"nnx": nnx, "jnp": jnp, "sgblend": native.sgblend}
    exec("\n".join(line[4:] for line in lines.splitlines()), made)
    layer, x = made["SGBlend"](), jnp.asarray(rows[0], jnp.float32)
    close(layer(x), sgblend(rows[0], 0.5, 1.0, 0.0))
    goal = sgblend(rows[0], *POINT.values())
    loss = nnx.jit(nnx.value_and_grad(lambda m: jnp.mean((m(x) - goal) ** 2)))
    before = loss(layer)[0]
    for _ in range(500):
        step = jax.tree.map(lambda p, g: p - 0.3 * g, nnx.state(layer), loss(layer)[1])
        nnx.update(layer, step)
    assert loss(layer)[0] < before / 100


# PyTorch --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def native(torch):
    import sgblend_utils.torch

    return sgblend_utils.torch


def single(torch, values):
    return torch.tensor(np.asarray(values, "float32"))


@pytest.mark.parametrize("form", FORMS)
def test_the_torch_module_has_the_values_and_slopes_of_the_formula(torch, native, rows, form):
    x, u = rows
    wanted, layer = slopes(x, u, form), native.SGBlend(**POINT, gelu=form)
    inputs = single(torch, x).requires_grad_()
    value = layer(inputs)
    close(value.detach(), sgblend(x, *POINT.values(), form))
    found = torch.autograd.grad(value, [inputs, *layer.parameters()], single(torch, u))
    for one, name in zip(found, wanted, strict=True):
        close(one, wanted[name])
    assert layer.effective_parameters().keys() == POINT.keys()


def test_the_torch_module_is_the_keras_layer(torch, native, rows):
    import activation_tools as tools

    from sgblend_utils.activations import SGBlend

    x, u = (row.astype("float32") for row in rows)
    theirs, ours = SGBlend(**POINT), native.SGBlend(**POINT)
    theirs.build(x.shape)
    slope, parameters = tools.parameter_gradients(theirs, x, u)
    inputs = torch.tensor(x, requires_grad=True)
    value = ours(inputs)
    found = torch.autograd.grad(value, [inputs, *ours.parameters()], torch.tensor(u))
    close(value.detach(), tools.to_numpy(theirs(x)), 2e-6)
    for one, other in zip(found, [slope, *parameters.values()], strict=True):
        close(one, other, 2e-6)


def test_torch_parameters_stay_float32_and_exact(torch, native):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), native.SGBlend(0.1234567))
    model.to(torch.bfloat16)
    assert model[0].weight.dtype == torch.bfloat16
    assert {p.dtype for p in model[1].parameters()} == {torch.float32}
    assert model[1].blend.item() == np.float32(0.1234567)
    assert model(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert model.half().to("meta")[1].slope.device.type == "meta"
    names = [name.split(".")[-1] for name, _ in model.named_parameters()]
    assert not [name for name in names if "beta" in name or "gamma" in name]


def test_torch_decay_leaves_the_parameters_alone(torch, native):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), native.SGBlend(), native.SGBlend(shape=(3,)))
    spared = native.no_decay_parameters(model)
    assert len(spared) == 6 and {p.numel() for p in spared} == {1, 3}
    rest = [p for p in model.parameters() if not any(p is one for one in spared)]
    groups = [{"params": rest}, {"params": spared, "weight_decay": 0.0}]
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=1.0)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    same = [bool((a == b).all()) for a, b in zip(before, model.parameters(), strict=True)]
    assert same == [False, False, *6 * [True]]


def test_torch_channels_have_their_own_function(torch, native):
    layer = native.SGBlend(shape=(3, 1, 1))
    with torch.no_grad():
        layer.blend.copy_(single(torch, [0, 0.5, 1])[:, None, None])
    x = torch.linspace(-3, 3, 96).reshape(2, 3, 4, 4).requires_grad_()
    y = layer(x)
    functional = torch.nn.functional
    close(y[:, 0].detach(), functional.gelu(x[:, 0]).detach(), 1e-6)
    close(y[:, 2].detach(), functional.silu(x[:, 2]).detach(), 1e-6)
    y.sum().backward()
    assert layer.blend.grad.shape == (3, 1, 1)
    wide = x.detach().double().numpy()
    wanted = wide * sigmoid(wide) - wide * gelu_gate(wide)
    close(layer.blend.grad.ravel(), wanted.sum((0, 2, 3)))


def test_torch_export_keeps_the_outputs(torch, native, rows):
    x = single(torch, rows[0])
    model = torch.nn.Sequential(torch.nn.Linear(7, 7), native.SGBlend(**POINT)).eval()
    exported = torch.export.export(model, (x,)).module()
    close(exported(x).detach(), model(x).detach(), 2e-6)


def test_torch_onnx_keeps_the_outputs(torch, native, rows, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x = single(torch, rows[0])
    model = torch.nn.Sequential(torch.nn.Linear(7, 7), native.SGBlend(**POINT)).eval()
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (x,), path, verbose=False)
    session = runtime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    close(found, model(x).detach(), 2e-6)


@pytest.mark.parametrize("source", ["gelu", "silu"])
def test_a_torch_swap_changes_nothing_at_first(torch, native, source):
    nn, own = torch.nn, getattr(torch.nn.functional, source)
    class_ = {"gelu": nn.GELU(), "silu": nn.SiLU()}[source]
    shared = nn.Sequential(nn.Linear(4, 4), class_, nn.Linear(4, 4), class_, nn.ReLU())
    encoder = nn.TransformerEncoderLayer(4, 2, 8, activation=own, batch_first=True)
    for model in (shared.eval(), encoder.eval()):
        x = torch.linspace(-2, 2, 24).reshape(2, 3, 4)
        before = model(x)
        swapped = native.swap_activation(model, source)
        made = [m for m in swapped.modules() if isinstance(m, native.SGBlend)]
        assert len(made) == (2 if model is shared else 1)  # each place has its own
        close(swapped(x).detach(), before.detach(), 2e-6)
        swapped(x).square().sum().backward()
        assert all(m.blend.grad is not None for m in made)
    with pytest.raises(UserError, match="Nothing in this Sequential applies"):
        native.swap_activation(shared, source)


@pytest.mark.parametrize("kind", ["Bert", "GPT2"])
def test_transformers_models_are_swapped_saved_and_loaded(torch, native, kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    native.register_with_transformers()
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 20, "pad_token_id": 0}
    sizes |= {"initializer_range": 0.5, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    torch.manual_seed(0)
    auto = {"Bert": transformers.AutoModelForMaskedLM, "GPT2": transformers.AutoModelForCausalLM}
    model = auto[kind].from_config(config).eval()
    ids = torch.arange(1, 13).reshape(2, 6)
    with torch.no_grad():
        before = model(ids).logits
        model = native.swap_activation(model)
        close(model(ids).logits, before, 1e-5)
        made = [m for m in model.modules() if isinstance(m, native.SGBlend)]
        assert len(made) == 2 + (kind == "Bert")  # one a layer, and one in the head of BERT
        assert {m.gelu for m in made} == {"erf" if kind == "Bert" else "tanh"}
        named = model.config.hidden_act if kind == "Bert" else model.config.activation_function
        assert named == native.spec("erf" if kind == "Bert" else "tanh")
        for i, module in enumerate(made):
            module.blend.fill_(0.2 + 0.1 * i)
            module.slope.fill_(1.5)
        after = model(ids).logits
        assert (after - before).abs().max() > 1e-3
        model.save_pretrained(tmp_path)
        again = auto[kind].from_pretrained(tmp_path).eval()
        close(again(ids).logits, after, 1e-6)
    loaded = [m.blend.item() for m in again.modules() if isinstance(m, native.SGBlend)]
    assert loaded == pytest.approx([m.blend.item() for m in made])


# A light install ------------------------------------------------------------------------------

LIGHT = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import keras, numpy as np
from sgblend_utils import cli, swap_activation
from sgblend_utils.activations import SGBlend

x = np.linspace(-3, 3, 12, dtype="float32").reshape(3, 4)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="gelu")])
swapped = swap_activation(model)
assert np.allclose(model.predict(x, verbose=0), swapped.predict(x, verbose=0), atol=1e-6)
assert SGBlend()(x).shape == (3, 4)
sys.exit(cli.main(["report"]))
"""


def test_the_activation_needs_keras_and_numpy_alone():
    """Without the packages of the other extras, which `import` is made to refuse."""
    pytest.importorskip("jax")
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {Requirement(spec).name for spec in whole["dependencies"]} == {"keras", "numpy"}
    extras = whole["optional-dependencies"]
    others = {
        Requirement(spec).name for name in ("experiments", "notebooks") for spec in extras[name]
    }
    # SciPy is JAX's, and Keras takes these two where they are.
    absent = others - {"scipy", "tqdm", "pillow"} | {"sklearn", "PIL", "tensorflow", "torch"}
    code = LIGHT.replace("ABSENT", repr(sorted(absent)))
    environ = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "is not installed: run `pip install '.[experiments]'`" in done.stderr

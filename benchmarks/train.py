"""How fast training is beside the same model in plain PyTorch, and how long compilers take."""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import step

PROCESSES = {
    "Multi30k, Keras on JAX": {"KERAS_BACKEND": "jax"},
    "Multi30k, Keras on JAX, nothing compiled before": {"KERAS_BACKEND": "jax"},
    "Multi30k, PyTorch": {"KERAS_BACKEND": "jax"},  # whose batches it takes
    "CIFAR-10, Keras on TensorFlow": {"KERAS_BACKEND": "tensorflow"},
    "CIFAR-10, PyTorch": {"KERAS_BACKEND": "jax"},
}
ROUNDS, REPEATS = 6, 2
LONGEST = 64  # programs that PyTorch keeps for one function: one per bucket and model


def contestants(process: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    task = "multi30k" if "Multi30k" in process else "cifar10"
    if "PyTorch" in process:
        return torch_contestants(task)
    activations = step.ACTIVATIONS
    if "nothing compiled" in process:
        import jax

        jax.config.update("jax_enable_compilation_cache", False)
        activations = ("gelu",)
    return step.timed(activations, task=task, **step.SOME[task])


def torch_contestants(task: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """With GELU, as it comes and by `torch.compile`."""
    import torch

    from benchmarks import torch_resnet, torch_transformer
    from sgblend_utils.config import RunConfig
    from sgblend_utils.data.images import pixel_statistics

    torch._dynamo.config.recompile_limit = LONGEST
    config = RunConfig(task, "gelu", preset="cpu", overrides=step.SOME[task], backend="jax")
    data = config.task_object.load(config)
    batches = [data.train[i] for i in range(step.BATCHES)]
    if task == "multi30k":
        library, loss = torch_transformer, torch_transformer.token_loss
        make = partial(library.Transformer, config.settings, len(data.vocabulary[0]))
    else:
        library, loss = torch_resnet, torch_resnet.image_loss
        make = partial(library.ResNet8, *pixel_statistics(data.splits["train"].pixels))

    def steps(model: Any, training: Any, loss: Any) -> None:
        for batch in batches:
            last = library.train_step(model, *training, batch, config.settings, loss=loss)
        last.item()

    functions = {}
    for kind in ("eager", "compiled"):
        model = make()
        training = library.make_optimizer(config.settings, 10_000, model)
        own = torch.compile(loss, dynamic=False) if kind == "compiled" else loss
        functions[f"gelu, {kind}"] = partial(steps, model, training, own)
    return functions, {"batches": len(batches), **step.count(batches)}


def reference(process: str, contestant: str) -> str:
    """The same model by `torch.compile`."""
    return f"{process.split(', ')[0]}, PyTorch: gelu, compiled"

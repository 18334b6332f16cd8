"""Networks whose activation is chosen by a spec, one fresh layer per site."""

import functools
import importlib

import keras

from sgblend_utils.data import project_root
from sgblend_utils.memory import keep_memory


@functools.cache
def prepare_backend() -> None:
    """What every entry (command line, notebook, test) sets alike before a run.

    Dropout's random bits on JAX cost a tenth less in this form, and what takes a while to compile
    is kept for other processes.
    """
    if keras.backend.backend() == "jax":
        config = importlib.import_module("jax").config
        config.update("jax_threefry_partitionable", False)
        if config.jax_compilation_cache_dir is None:
            config.update("jax_compilation_cache_dir", str(project_root() / "data/cache/xla"))
            config.update("jax_compilation_cache_max_size", 2**30)  # bytes; what is over goes
            config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    elif keras.backend.backend() == "tensorflow":
        # At an epoch's end tf.data can wait, 41 s were seen, for the thread that tunes its buffers.
        importlib.import_module("tensorflow").data.experimental.enable_debug_mode()
    keep_memory()

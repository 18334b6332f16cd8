"""Networks whose activation is chosen by a spec, one fresh layer per site."""

import ctypes
import functools
import importlib

import keras

from sgblend_utils.data import project_root


@functools.cache
def prepare_backend() -> None:
    """What every entry (command line, notebook, test) sets alike before a run.

    Dropout's random bits on JAX cost a tenth less in this form, and what takes a while to compile
    is kept for other processes.  malloc keeps what is freed, since each training step asks for the
    same buffers again: with glibc's defaults a tenth to a fifth of a step goes into page faults.
    """
    if keras.backend.backend() == "jax":
        config = importlib.import_module("jax").config
        config.update("jax_threefry_partitionable", False)
        if config.jax_compilation_cache_dir is None:
            config.update("jax_compilation_cache_dir", str(project_root() / "data/cache/xla"))
            config.update("jax_compilation_cache_max_size", 2**30)  # bytes; what is over goes
            config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # <malloc.h>
    limits = {mmap_max: 0, trim_threshold: 2**29, top_pad: 2**27, arena_max: 1}
    for option, value in limits.items():
        mallopt(option, value)

"""How this process gets memory from the system."""

import ctypes
import functools


@functools.cache
def keep_memory() -> None:
    """Let malloc keep what is freed, in one arena, since each step asks for the same buffers again.

    With glibc's defaults a tenth to a fifth of a training step goes into page faults; and a thread
    with an arena of its own unmaps a step's buffers each time, which can double the step.  Arenas
    are made by the first threads, so that this has to come before libraries that start some.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # <malloc.h>
    limits = {mmap_max: 0, trim_threshold: 2**29, top_pad: 2**27, arena_max: 1}
    for option, value in limits.items():
        mallopt(option, value)

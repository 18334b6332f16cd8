"""What a run's process does beside training: one arena for all threads, no thread of tf.data."""

import platform
import re
import subprocess
import sys
import time

import keras
import pytest

from sgblend_utils.models import prepare_backend

CODE = """
import ctypes, sys, threading
{first}
import numpy
def work():
    held.append([bytearray(2000) for _ in range(100)])
    wait.wait()
held, wait = [], threading.Barrier(5)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
wait.wait()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_the_command_line_has_one_arena():
    def arenas(first):
        code = CODE.format(first=first)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return len(re.findall(r"^Arena \d+:", done.stderr, re.M))

    begun = "import sgblend_utils.cli as cli; cli.main(['data', 'list'])"
    assert arenas("") > 1
    assert arenas(begun) == 1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
def test_tf_data_makes_nothing_ahead_of_time():
    import tensorflow as tf

    made = []

    def rows():
        for i in range(8):
            made.append(i)
            yield i

    prepare_backend()
    data = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec((), tf.int32))
    rest = iter(data.prefetch(tf.data.AUTOTUNE))
    next(rest)
    time.sleep(0.3)
    assert made == [0]
    assert [int(i) for i in rest] == [1, 2, 3, 4, 5, 6, 7]

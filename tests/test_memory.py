"""All threads of a run share one arena, so that no thread gives a step's buffers back."""

import platform
import re
import subprocess
import sys

import pytest

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

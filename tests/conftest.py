"""What every test process needs before the first import of Keras or matplotlib."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import run_tools
from hypothesis import settings

# The same examples on every machine, and no verdict that depends on how busy it is.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture
def without_xla():
    with run_tools.without_xla():
        yield

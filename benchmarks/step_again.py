"""`step` on WMT14 with new repeats: the second round of the ledger's row (`data/plan.toml`)."""

from benchmarks import step
from sgblend_utils.report.plan import plan

PROCESSES = {"wmt14": step.PROCESSES["wmt14"]}
ROUNDS, REPEATS = step.ROUNDS, plan()["step_again"]["repeats"]
contestants, reference = step.contestants, step.reference

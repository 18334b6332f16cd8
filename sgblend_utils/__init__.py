"""Helpers for the SG-Blend companion notebooks.

The rooms, in the order data flows: activations, bench, theory, datasets, models, decoding, metrics,
probes, configs, training, runs, stats, report, cli.  A module imports only from rooms before its
own.
"""

__version__ = "0.1.0"

"""Closed forms behind the activations: shape, signal propagation, identifiability."""

# ruff: noqa: F401, I001 - names are exported from here, a few to a line
from sgblend_utils.theory.expressions import EXPRESSIONS, KINKS, PARAMETERS, closed_form
from sgblend_utils.theory.identifiability import (
    alpha_signal, condition_map, condition_number, fisher_matrix, parameter_gradient, profiled
)  # fmt: skip
from sgblend_utils.theory.mean_field import (
    Criticality, correlation_map, criticality, gaussian_mean, gaussian_rule, half_stable_point,
    moments, propagate, variance_map
)  # fmt: skip
from sgblend_utils.theory.shape import (
    SWISH_DEPTH, curvature_bound, even_part, gelu_error, lipschitz, maximum, minimum,
    sgblend_curvature_at_zero, sgblend_map, symmetry_defect
)  # fmt: skip

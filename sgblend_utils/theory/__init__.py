"""Closed forms behind the activations: shape, signal propagation, identifiability.

NumPy, SciPy and SymPy only; nothing here imports Keras.
"""

from sgblend_utils.theory.expressions import (
    EXPRESSIONS,
    KINKS,
    PARAMETERS,
    closed_form,
)
from sgblend_utils.theory.identifiability import (
    alpha_signal,
    condition_map,
    condition_number,
    fisher_matrix,
    parameter_gradient,
    profiled,
)
from sgblend_utils.theory.mean_field import (
    Criticality,
    correlation_map,
    criticality,
    gaussian_mean,
    gaussian_rule,
    half_stable_point,
    moments,
    propagate,
    variance_map,
)
from sgblend_utils.theory.shape import (
    SWISH_DEPTH,
    curvature_bound,
    even_part,
    gelu_error,
    lipschitz,
    maximum,
    minimum,
    sgblend_curvature_at_zero,
    sgblend_map,
    symmetry_defect,
)

__all__ = [
    "EXPRESSIONS",
    "KINKS",
    "PARAMETERS",
    "SWISH_DEPTH",
    "Criticality",
    "alpha_signal",
    "closed_form",
    "condition_map",
    "condition_number",
    "correlation_map",
    "criticality",
    "curvature_bound",
    "even_part",
    "fisher_matrix",
    "gaussian_mean",
    "gaussian_rule",
    "gelu_error",
    "half_stable_point",
    "lipschitz",
    "maximum",
    "minimum",
    "moments",
    "parameter_gradient",
    "profiled",
    "propagate",
    "sgblend_curvature_at_zero",
    "sgblend_map",
    "symmetry_defect",
    "variance_map",
]

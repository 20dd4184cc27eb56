"""Scaling laws of fine-tuning: what more data would give, and which model to spend it on.

Lin et al., "Selecting Large Language Model to Fine-tune via Rectified Scaling Law" (arXiv 2402.02314).
"""

from tamis.scaling.acceptance import accept_then_stop
from tamis.scaling.bootstrap import FitIntervals, bootstrap_fit
from tamis.scaling.budgeted_search import BudgetedSearch
from tamis.scaling.defects import Defect, audit_curves
from tamis.scaling.errors import BadCurveError, BadSettingError, UnknownChoiceError
from tamis.scaling.extrapolation import Extrapolation
from tamis.scaling.fitting import Basin, LawFit, fit_law
from tamis.scaling.methods import model_size_scores
from tamis.scaling.prediction import predict_full_loss

CODE_VERSION = "6"  # 6: a fit left in a flat valley is not called converged

__all__ = [
    "CODE_VERSION",
    "BadCurveError",
    "BadSettingError",
    "Basin",
    "BudgetedSearch",
    "Defect",
    "Extrapolation",
    "FitIntervals",
    "LawFit",
    "UnknownChoiceError",
    "accept_then_stop",
    "audit_curves",
    "bootstrap_fit",
    "fit_law",
    "model_size_scores",
    "predict_full_loss",
]

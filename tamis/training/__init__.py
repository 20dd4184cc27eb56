"""Training: small base models, fine-tuned trials, bits per byte, tracking. Importing it loads no torch."""

from tamis.training.errors import DivergedError, EmptyTextError, NoCompilerError, UnknownModelError
from tamis.training.evaluation import Evaluation, document_bits_per_byte, evaluate
from tamis.training.fine_tuning import fine_tune
from tamis.training.models import count_parameters, model_identity
from tamis.training.options import FineTuningOptions, PretrainingOptions, Runtime
from tamis.training.pretraining import pretrain
from tamis.training.results import TrainingResult
from tamis.training.shapes import PRESETS, ModelShape, preset_shape
from tamis.training.subsets import fold_of, nested_subset
from tamis.training.tokenizer import count_tokens, train_tokenizer
from tamis.training.tracking import find_run, log_trial

CODE_VERSION = "3"  # 2: plain attention for Llama-shaped classifiers on a CPU; 3: rows in steps of 16 tokens

__all__ = [
    "CODE_VERSION",
    "PRESETS",
    "DivergedError",
    "EmptyTextError",
    "Evaluation",
    "FineTuningOptions",
    "ModelShape",
    "NoCompilerError",
    "PretrainingOptions",
    "Runtime",
    "TrainingResult",
    "UnknownModelError",
    "count_parameters",
    "count_tokens",
    "document_bits_per_byte",
    "evaluate",
    "find_run",
    "fine_tune",
    "fold_of",
    "log_trial",
    "model_identity",
    "nested_subset",
    "preset_shape",
    "pretrain",
    "train_tokenizer",
]

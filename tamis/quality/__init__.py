"""Quality: a judge asked about a sample (Ask-LLM), a grader for every document, and checks of both."""

from tamis.quality.active import candidates, choose_actively
from tamis.quality.ask_llm import AskLLM
from tamis.quality.endpoint import (
    Endpoint,
    EndpointRejectedError,
    EndpointUnavailableError,
    MissingKeyError,
    MissingLogProbabilitiesError,
)
from tamis.quality.grader import (
    GRADER_CODE_VERSION,
    Grader,
    TooFewJudgedError,
    fit_grader,
    grader_features,
)
from tamis.quality.grader_report import GraderReport
from tamis.quality.identity import CODE_VERSION, EMBEDDED_JUDGE, JudgeModelError, judge_identity
from tamis.quality.judge_check import JudgeCheck, check_judge
from tamis.quality.noise import AreaUnderCurve, auc, planted_noise
from tamis.quality.sample import choose_sample, split_sample
from tamis.quality.surface import surface_features

__all__ = [
    "CODE_VERSION",
    "EMBEDDED_JUDGE",
    "GRADER_CODE_VERSION",
    "AreaUnderCurve",
    "AskLLM",
    "Endpoint",
    "EndpointRejectedError",
    "EndpointUnavailableError",
    "Grader",
    "GraderReport",
    "JudgeCheck",
    "JudgeModelError",
    "MissingKeyError",
    "MissingLogProbabilitiesError",
    "TooFewJudgedError",
    "auc",
    "candidates",
    "check_judge",
    "choose_actively",
    "choose_sample",
    "fit_grader",
    "grader_features",
    "judge_identity",
    "planted_noise",
    "split_sample",
    "surface_features",
]

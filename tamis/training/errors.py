"""Errors of training that a user meets; every one is permanent, since a retry would meet it again."""

from collections.abc import Sequence
from pathlib import Path

from tamis.base.errors import PermanentError, TransientError, without_secrets

MALFORMED = (AttributeError, KeyError, TypeError)
"""Errors of transformers where a JSON file of a model has another form than it expects."""


def load_problem(error: Exception) -> str:
    """Return why a model cannot be loaded: the first line of the error, explained where it says little."""
    first = str(error).split("\n", 1)[0]
    if isinstance(error, MALFORMED):
        return f"one of its JSON files has another form than transformers expects ({first})"
    return first


class EmptyTextError(PermanentError):
    """There is nothing to train or to evaluate on."""

    def __init__(self, purpose: str) -> None:
        self.purpose = purpose
        super().__init__(
            f"the texts for {purpose} contain no tokens; add at least one text that is not empty"
        )


class TrackerUnavailableError(TransientError):
    """The MLflow server that tamis.toml names does not answer."""

    def __init__(self, uri: str, problem: str) -> None:
        self.uri, self.problem = without_secrets(uri), problem
        super().__init__(
            f"the tracking server {self.uri} is not responding ({problem}); start it, or, to track locally "
            "in the Tamis home folder, remove uri from [tracking] and unset TAMIS_MLFLOW_URL"
        )


class DeletedExperimentError(PermanentError):
    """Somebody deleted the MLflow experiment that trials are logged to; says the ways back."""

    def __init__(self, uri: str, name: str, number: str) -> None:
        self.uri, self.name, self.number = without_secrets(uri), name, number
        super().__init__(
            f"the MLflow experiment {name!r} was deleted, so no trial can be logged to it; restore it with "
            f"`MLFLOW_TRACKING_URI={self.uri} mlflow experiments restore --experiment-id {number}`, or set "
            "experiment in [tracking] to another name"
        )


class DamagedTrackerError(PermanentError):
    """MLflow's database in the home cannot be read; says the way back."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(
            f"MLflow's database {path} cannot be read ({problem}); put a backup in its place, or move the "
            "file away, and a new one will be made: the results of the trials are in Tamis's own tables"
        )


class DivergedError(PermanentError):
    """The loss became infinite or NaN; a lower learning rate is the usual cure."""

    def __init__(self, step: int, learning_rate: float) -> None:
        self.step, self.learning_rate = step, learning_rate
        super().__init__(
            f"the training loss is not finite at step {step}; try a learning rate below {learning_rate:g}"
        )


class NoCompilerError(PermanentError):
    """`compile` is set, and the machine has nothing to compile with."""

    def __init__(self, problem: str) -> None:
        self.problem = problem.strip().split("\n", 1)[0].rstrip(".")
        super().__init__(
            f"the model cannot be compiled on this machine: {self.problem}; on a CPU, install a C++ compiler "
            "and Python's header files (Debian: apt-get install g++ python3-dev), or remove `compile` from "
            "tamis.toml"
        )


class UnknownModelError(PermanentError):
    """A base model that is neither a folder, nor an embedded model, nor an id that can be loaded."""

    def __init__(self, model: str, reason: str) -> None:
        self.model, self.reason = model, reason
        super().__init__(
            f"cannot load the model {model!r}: {reason}; use a folder with config.json and "
            "*.safetensors, 'smollm2-135m', or a hub id (with access to the hub or a copy in the cache)"
        )


class NoTokenizerError(PermanentError):
    """A model folder without a tokenizer: names the folder and the files that are sought in it."""

    def __init__(self, model: str, folder: Path, files: Sequence[str]) -> None:
        self.model, self.folder, self.files = model, folder, tuple(files)
        super().__init__(
            f"the model {model!r} has no tokenizer: {folder} contains none of {', '.join(files)}; put the "
            "model's tokenizer files there (tokenizer.save_pretrained(folder) writes tokenizer.json)"
        )


class UnfitTokenizerError(PermanentError):
    """A tokenizer with tokens that the model has no row for."""

    def __init__(self, model: str, token: str, number: int, rows: int) -> None:
        self.model, self.token, self.number, self.rows = model, token, number, rows
        super().__init__(
            f"the tokenizer does not match the model {model!r}: token {token!r} has the id {number}, "
            f"but the embedding matrix has {rows} rows (ids 0 to {rows - 1}); use the tokenizer that the "
            f"model was trained with, or enlarge the matrix with model.resize_token_embeddings({number + 1})"
        )


class TooFewPositionsError(PermanentError):
    """A row longer than what the model has learnt positions for."""

    def __init__(self, model: str, positions: int, sequence_length: int) -> None:
        self.model, self.positions, self.sequence_length = model, positions, sequence_length
        super().__init__(
            f"the model {model!r} supports {positions} positions, but rows of {sequence_length} tokens "
            f"were requested; set sequence_length in [fine_tuning], or max_tokens in [perplexity], to at "
            f"most {positions}, or use a model with more positions"
        )


class UnfitLayersError(PermanentError):
    """Layers named for an adapter that the model does not have, or that none can be merged into."""

    def __init__(self, model: str, targets: Sequence[str], problem: str) -> None:
        self.model, self.targets = model, tuple(targets)
        super().__init__(
            f"lora_targets = {list(targets)} does not work for the model {model!r}: {problem}; list linear "
            "layers by the ends of their names, or remove lora_targets to adapt all of them"
        )


class NotCausalError(PermanentError):
    """An encoder, which sees the whole text at once, asked to predict it."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"the model {model!r} reads text in both directions, so it cannot learn to predict plain text or "
            "responses; fine-tune it on a target with a label_column (and, with two_stage, first on a "
            "selection), or use a causal model"
        )


class BadTemplateError(PermanentError):
    """A chat template that does not take conversations, for a reason that quotes none of them."""

    def __init__(self, model: str, refused: int, count: int, reason: str) -> None:
        self.model, self.refused, self.count, self.reason = model, refused, count, reason
        super().__init__(
            f"the chat template of the model {model!r} rejects {refused:,} of {count:,} conversations: "
            f"{reason}; remove them from the target, or choose a model whose template accepts them"
        )


class NeedsPairsError(PermanentError):
    """An encoder-decoder asked to learn from plain text or labels, which have no prompt and no response."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"the model {model!r} is an encoder-decoder, which learns only from a target with a "
            "prompt_column and a response_column; use a causal model for plain text, labels and warm-ups"
        )

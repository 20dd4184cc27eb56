"""Tables of training: what a checkpoint was trained on, trials of the law, of selections and of samplers."""

import pyarrow as pa

from tamis.store.columns import DOC_ID, Table, column

_SAMPLER_TRIAL = (
    column("run", pa.string(), "digest of all that decides the losses of the run"),
    column("sampler", pa.string(), "who chose the training set; full = every eligible document"),
    column("budget", pa.string(), "how much it chose"),
    column("data_seed", pa.int64(), "which part of the pool, and which draw, from 0"),
    column("training_seed", pa.int64(), "which first weights and order of documents, from 0"),
    column("documents", pa.int64(), "documents in the training set"),
    column("tokens", pa.int64(), "predicted tokens"),
    column("epochs", pa.float64(), "passes over the training set"),
    column("target_bits_per_byte", pa.float64(), "loss on held-out examples of the target"),
    column("pool_bits_per_byte", pa.float64(), "loss on held-out documents of the pool"),
    column("target_document_bits", pa.list_(pa.float64()), "code length of each held-out example, bits"),
    column("target_document_bytes", pa.list_(pa.int64()), "length of each held-out example, bytes"),
    column("pool_document_bits", pa.list_(pa.float64()), "code length of each held-out document, bits"),
    column("pool_document_bytes", pa.list_(pa.int64()), "length of each held-out document, UTF-8 bytes"),
    column("curve_tokens", pa.list_(pa.int64()), "tokens at which the target loss was measured"),
    column("curve_target", pa.list_(pa.float64()), "target loss there, bits per byte"),
    column("failure", pa.string(), "why the run has no losses, null when it has"),
    column("seconds", pa.float64(), "time of training and evaluation"),
)
TRAINING: dict[str, Table] = {
    "trained_on": Table(
        key=("checkpoint", "doc_id"),
        text=(),
        evidence=True,
        columns=(
            column("checkpoint", pa.string(), "base model or trial"),
            DOC_ID,
            column("data", pa.string(), "pool, target or selection the document came from"),
        ),
    ),
    "trials": Table(
        key=("trial",),
        text=(),
        sealed=True,
        columns=(
            column("trial", pa.string(), "name of the trial"),
            column("model", pa.string(), "base model"),
            column("kind", pa.string(), "law, warm_up, two_stage or direct"),
            column("data", pa.string(), "target or selection it was trained on"),
            column("size", pa.int64(), "training documents"),
            column("seed", pa.int64(), "seed of subset and training"),
            column("zero_shot_bits_per_byte", pa.float64(), "held-out target loss before training"),
            column("held_out_bits_per_byte", pa.float64(), "held-out target loss after training"),
            column("held_out_low", pa.float64(), "lower end of its 95 % interval over seeds and documents"),
            column("held_out_high", pa.float64(), "upper end of it"),
            column(
                "warm_up_bits_per_byte", pa.float64(), "held-out target loss after the first of two stages"
            ),
            column("held_out_loss", pa.float64(), "of a labelled target: nats an example after training"),
            column("accuracy", pa.float64(), "share of the held-out examples that get their label"),
            column("accuracy_low", pa.float64(), "lower end of its 95 % interval"),
            column("accuracy_high", pa.float64(), "upper end of it"),
            column("macro_f1", pa.float64(), "mean F1 over the labels"),
            column("macro_f1_low", pa.float64(), "lower end of its 95 % interval"),
            column("macro_f1_high", pa.float64(), "upper end of it"),
            column("majority_accuracy", pa.float64(), "accuracy of always saying the most frequent label"),
            column("seeds", pa.int64(), "trainings of which this is the mean; cost is the sum over them"),
            column("steps", pa.int64(), "optimiser steps"),
            column("tokens", pa.int64(), "training tokens seen, repeats counted"),
            column(
                "flops", pa.float64(), "6 N T for training (adapters 4 N T + 6 M T), 2 N T for evaluation"
            ),
            column("seconds", pa.float64(), "wall clock"),
            column("peak_memory_bytes", pa.int64(), "peak resident memory of the process"),
            column("parameters", pa.int64(), "parameters of the model"),
            column(
                "trainable_parameters",
                pa.int64(),
                "parameters that were trained, an adapter's where there is one",
            ),
            column("evaluation_flops", pa.float64(), "part of the operations that no amount of data changes"),
            column("evaluation_seconds", pa.float64(), "part of the time that no amount of data changes"),
            column("checkpoint", pa.string(), "folder of the weights under the home folder"),
            column("mlflow_run", pa.string(), "MLflow run id"),
        ),
    ),
    "loss_curves": Table(
        key=("target", "model", "size"),
        text=(),
        columns=(
            column("target", pa.string(), "target whose held-out loss is measured"),
            column("model", pa.string(), "base model"),
            column("size", pa.int64(), "training documents, 0 for zero-shot"),
            column("loss", pa.float64(), "held-out target loss, bits per byte"),
            column("trial", pa.string(), "trial that measured it"),
        ),
    ),
    "sampler_comparison": Table(
        key=("sampler_a", "sampler_b"),
        text=(),
        columns=(
            column("sampler_a", pa.string(), "one sampler"),
            column("sampler_b", pa.string(), "the other sampler"),
            column("jaccard", pa.float64(), "overlap of the two chosen sets"),
            column("kendall_tau", pa.float64(), "rank agreement over the pool"),
        ),
    ),
    "sampler_trials": Table(key=("run",), text=(), sealed=True, columns=_SAMPLER_TRIAL),
    "sampler_trials_left": Table(
        key=("run",),
        text=(),
        sealed=True,
        columns=(
            *_SAMPLER_TRIAL,
            column("left_at", pa.timestamp("us"), "when the run was no longer planned, UTC"),
        ),
    ),
}

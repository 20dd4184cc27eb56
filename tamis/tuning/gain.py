"""Test of a mixture: the recommended shares against the natural ones in new pairs of runs.

The law picks the mixture that its own fit likes best, so its predicted gain is too good on average. Both
mixtures are therefore trained again with seeds that no run of the law had, and compared by the statistics of
the guard. Runs are named by all that decides their losses: none is made twice.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tamis.base.numbers import counted
from tamis.mixture.analysis import CHOSEN, NATURAL
from tamis.mixture.runs import held_out_texts, run_documents
from tamis.mixture.stage import MIXTURE_CONTROLS, MIXTURE_SOURCES
from tamis.mixture.swarm import PlannedRun, named_run
from tamis.selection.pool import training_order
from tamis.settings.training_sections import MixtureSection
from tamis.store.digests import canonical_digest
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of
from tamis.trainer.batches import DIVERGED, Batch, BatchRun
from tamis.training.followed import MeasuredOptions, MeasuredRun, Start
from tamis.tuning.answer import Answer, Kind, Measured, gain_of_mixture
from tamis.tuning.guard import Difference, Pairs, difference
from tamis.tuning.parts import LEAST_GUARD
from tamis.tuning.runs import FLOP_PER_TOKEN, too_few_pairs
from tamis.tuning.search import PAIRS
from tamis.tuning.stage import MIXTURE_GAIN, MIXTURE_GAIN_RUNS

Floats = NDArray[np.float64]
Row = dict[str, Any]
TABLE = MIXTURE_GAIN_RUNS.name
WORDS = {CHOSEN: "recommended mixture", NATURAL: "natural shares"}


@dataclass(frozen=True, kw_only=True)
class GainSettings:
    """Settings of the test of a mixture.

    `basis`: digest of how runs are trained, whatever they train on. `start`: a shape with fresh weights.
    """

    section: MixtureSection
    seed: int
    preset: str
    basis: str
    start: Start
    options: MeasuredOptions

    @property
    def target(self) -> str:
        """The targets in one text, as rows have them."""
        return ", ".join(self.section.targets)

    @property
    def parameters(self) -> float:
        """Parameters of the model."""
        assert self.start.shape is not None
        return float(self.start.shape.parameters)


class GainTest:
    """A mixture and the pairs of runs that test it, by the rows of the runs that have ended."""

    def __init__(self, store: Store, test: GainSettings) -> None:
        self.store, self.test = store, test
        self.pairs: list[tuple[Row, Row]] = []
        self._planned = test.section.pairs

    @cached_property
    def arms(self) -> Mapping[str, PlannedRun]:
        """Both mixtures under the same caps, as runs of the law's preset and length."""
        shares = dict(self.store.read(MIXTURE_CONTROLS.name, ["name", "shares"]).iter_rows())
        digests = dict(self.store.read(MIXTURE_SOURCES.name, ["source", "documents_digest"]).iter_rows())
        tokens = self.test.section.run_tokens
        return {
            name: named_run(self.test.preset, tokens, json.loads(shares[name]), {}, digests, 0)
            for name in (CHOSEN, NATURAL)
        }

    @cached_property
    def texts(self) -> Mapping[str, Sequence[str]]:
        """Held-out texts of each target that no run trained on."""
        return held_out_texts(self.store, self.test.section.targets)

    @cached_property
    def untested(self) -> Answer | None:
        """The answer where nothing has to be trained, or could be measured."""
        if self.arms[CHOSEN].weights == self.arms[NATURAL].weights:
            return Answer(
                kind=Kind.SAME,
                sentence="The recommended mixture has the natural shares, so there is no gain to test.",
            )
        few = {target: len(texts) for target, texts in self.texts.items() if len(texts) < LEAST_GUARD}
        if not few:
            return None
        counts = ", ".join(f"{target} has {count}" for target, count in few.items())
        return Answer(
            kind=Kind.UNTESTED,
            sentence=(
                "Whether the recommended mixture is better than the natural shares is not tested: each "
                f"target needs {LEAST_GUARD} held-out examples that no run trained on, and {counts}; raise "
                "held_out."
            ),
        )

    def advance(self) -> Batch | None:
        """Return the runs that come next, by the rows that there are now; None once there are enough pairs.

        Another pair takes the place of a pair with a failed run, up to twice as many pairs as asked for.
        """
        if self.untested:
            return None
        asked = self.test.section.pairs
        while True:
            keys = [self._key(name, pair) for pair in range(self._planned) for name in self.arms]
            rows = {row["run"]: row for row in self._read(keys)}
            if missing := [key for key in keys if key not in rows]:
                return Batch(
                    runs=[self._run(*self._places[key]) for key in missing],
                    measured={target: list(texts) for target, texts in self.texts.items()},
                )
            pairs = zip(keys[::2], keys[1::2], strict=True)
            both = [(rows[chosen], rows[natural]) for chosen, natural in pairs]
            self.pairs = [pair for pair in both if not any(row["failure"] for row in pair)]
            further = min(asked - len(self.pairs), 2 * asked - self._planned)
            if further <= 0:
                return None
            self._planned += further

    def finish(self) -> Row:
        """Write the answer, and return it; runs of other mixtures stay, and are not paid again.

        Raises `TooFewPairsError`; runs that have failed, and have not diverged, are then made again by the
        next call.
        """
        answer, gain = self.untested, None
        if answer is None:
            if len(self.pairs) < PAIRS:
                raise too_few_pairs(len(self.pairs), self._forget_failures())
            gain = gain_of(self.pairs)
            answer = gain_of_mixture(gain, self._measured)
        values = self._values(answer, gain)
        self.store.overwrite(
            MIXTURE_GAIN.name, pa.Table.from_pylist([values], schema=schema_of(MIXTURE_GAIN.name))
        )
        return values

    def _values(self, answer: Answer, gain: Difference | None) -> Row:
        test = self.test
        return {
            "target": test.target,
            "kind": str(answer.kind),
            "sentence": answer.sentence,
            "proven": answer.kind == Kind.BETTER,
            "pairs": gain.pairs if gain else 0,
            "examples": sum(map(len, self.texts.values())),
            "difference": gain and gain.mean,
            "low": gain and gain.low,
            "high": gain and gain.high,
            "preset": test.preset,
            "parameters": test.parameters,
            "tokens": test.section.run_tokens,
            **{name: json.dumps(dict(run.weights)) for name, run in self.arms.items()},
        }

    @property
    def _measured(self) -> Measured:
        targets = self.test.section.targets
        return Measured(
            parameters=self.test.parameters,
            tokens=self.test.section.run_tokens,
            target=targets[0] if len(targets) == 1 else f"{' and '.join(targets)} on average",
            reference="the natural shares",
        )

    def _read(self, keys: Sequence[str]) -> list[Row]:
        return self.store.read(TABLE, where=one_of("run", keys)).to_dicts()

    @property
    def _places(self) -> dict[str, tuple[str, int]]:
        """Mixture and pair of each planned run, by key."""
        return {self._key(name, pair): (name, pair) for pair in range(self._planned) for name in self.arms}

    def _key(self, name: str, pair: int) -> str:
        named = [self.test.basis, self._contents[name], self._held_out, self._seed(pair)]
        return canonical_digest(json.dumps(named))[:32]

    @cached_property
    def _documents(self) -> dict[str, pl.DataFrame]:
        """Documents of each mixture by id, and how often it has them: doc_id and count."""
        return {
            name: run_documents(self.store, run).select("doc_id", "count") for name, run in self.arms.items()
        }

    @cached_property
    def _contents(self) -> dict[str, str]:
        """Digest of what each mixture trains on; documents that were withdrawn are not part of it."""
        return {name: canonical_digest(json.dumps(rows.rows())) for name, rows in self._documents.items()}

    @cached_property
    def _held_out(self) -> str:
        return canonical_digest(json.dumps({target: list(texts) for target, texts in self.texts.items()}))

    def _seed(self, pair: int) -> int:
        """Return the seed of a pair, which is not the project's: runs of the law have that one."""
        digest = canonical_digest(f"mixture gain|{self.test.seed}|{pair}")
        return int(digest[:7], 16) + (int(digest[:7], 16) == self.test.seed)

    def _run(self, name: str, pair: int) -> BatchRun:
        test, seed = self.test, self._seed(pair)
        documents = self._documents[name]
        return BatchRun(
            key=self._key(name, pair),
            label=f"{WORDS[name]}, pair {pair}",
            start=test.start,
            options=replace(test.options, seed=seed),
            doc_ids=documents["doc_id"].to_list(),
            order=training_order(documents, seed)["doc_id"].to_list(),
            about={
                "mixture": name,
                "shares": json.dumps(dict(self.arms[name].weights)),
                "pair": pair,
                "seed": seed,
                "target": test.target,
                "preset": test.preset,
                "flop": FLOP_PER_TOKEN * test.parameters * test.section.run_tokens,
            },
        )

    def _forget_failures(self) -> list[str]:
        """Delete the rows of runs that may be made again; return why runs have failed.

        A run that has diverged would diverge again.
        """
        failed = {row["run"]: row["failure"] for row in self._read(list(self._places)) if row["failure"]}
        again = [run for run, reason in failed.items() if not reason.startswith(DIVERGED)]
        if again:
            self.store.delete(TABLE, one_of("run", again))
        return list(failed.values())


def gain_runs_in_words(batch: Batch) -> str:
    """Return how many runs a batch has."""
    return f"{counted(len(batch.runs), 'run')} that test the mixture"


def gain_of(pairs: Sequence[tuple[Row, Row]]) -> Difference:
    """Return the loss of the first run of each pair less that of the second, as the guard judges it."""
    first = pairs[0][0]
    target_d = np.repeat(np.arange(len(first["examples"])), first["examples"])
    bytes_d = np.array(first["example_bytes"], dtype=np.float64)
    chosen_pd, natural_pd = (np.array([pair[arm]["example_bits"] for pair in pairs]) for arm in (0, 1))
    winner_pd, scaled_d = targets_alike(chosen_pd, bytes_d, target_d)
    reference_pd, _ = targets_alike(natural_pd, bytes_d, target_d)
    return difference(Pairs(winner_pd=winner_pd, reference_pd=reference_pd, bytes_d=scaled_d))


def targets_alike(bits_pd: Floats, bytes_d: Floats, target_d: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Return bits and bytes whose ratio of sums is the mean over the targets of bits per byte.

    Targets count alike, whatever their bytes. They are fixed, and examples are drawn within each of them: how
    far a target is from the mean is moved out of the examples, or it would count as luck of the examples.
    """
    member_dt = np.eye(int(target_d.max()) + 1)[target_d]
    bytes_t = bytes_d @ member_dt
    loss_pt = bits_pd @ member_dt / bytes_t
    apart_pt = loss_pt - loss_pt.mean(1, keepdims=True)
    weight_d = 1 / (len(bytes_t) * bytes_t[target_d])
    return (bits_pd - apart_pt[:, target_d] * bytes_d) * weight_d, bytes_d * weight_d


def record_gain_run(store: Store, run: BatchRun, result: MeasuredRun | str) -> None:
    """Write the row of a run, or why it has no losses."""
    values: Row = {"run": run.key, **run.about, "documents": len(run.doc_ids)}
    if isinstance(result, str):
        values |= {"failure": result}
    else:
        own = list(result.evaluations.values())
        values |= {
            "tokens": result.tokens,
            "seconds": result.seconds,
            "bits_per_byte": float(np.mean([evaluation.bits_per_byte for evaluation in own])),
            "examples": [len(evaluation.document_bits) for evaluation in own],
            "example_bits": np.concatenate([evaluation.document_bits for evaluation in own]).tolist(),
            "example_bytes": np.concatenate([evaluation.document_bytes for evaluation in own]).tolist(),
        }
    store.merge(TABLE, pa.Table.from_pylist([values], schema=schema_of(TABLE)))

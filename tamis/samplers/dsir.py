"""DSIR: draw with weights p_target / p_pool of hashed n-grams (Xie et al., NeurIPS 2023, arXiv 2302.03169).

Looks at words only, needs no encoder. Each distinct token is hashed once and pairs of tokens are mixed from
their hashes by vectorised integer arithmetic, where the published code hashes every n-gram of every document
with SHA-256 in Python: 20,000 documents of 1,000 characters take 1.4 s of one core.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.base.progress import Advance, ignore
from tamis.base.words import WORD
from tamis.samplers.choice import Choice, check_texts, choose
from tamis.transport.cost import BadShapeError, Floats, check_positive, check_whole
from tamis.transport.ordering import gumbel_noise

# That of nltk's WordPunctTokenizer, as published, but for scripts without spaces.
TOKEN = rf"{WORD}|[^\w\s]+"
BATCH_TEXTS = 2_048
LEAST_TOKENS, OF_THE_MEDIAN = 100, 0.5
"""Tokens under which a text comes last, as published, or so large a part of the target's median, if less."""
Buckets = npt.NDArray[np.int64]


def importance_resampling(
    target: Sequence[str],
    candidates: Sequence[str],
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    buckets: int = 10_000,
    smoothing: float = 1e-8,
    draw: bool = True,
    least: int | None = None,
    advance: Advance = ignore,
) -> Choice:
    """k of the candidate texts, drawn without replacement with their importance weights.

    Unigrams and bigrams of lower-case words and runs of punctuation fall into `buckets`; smoothing is added
    to the frequencies of both sides, as published. score [n]: -(log weight + Gumbel noise), without `draw`
    -log weight; seed and ids decide the noise. Texts under `least` tokens, by default `least_tokens`, come
    after all others, since a log weight is a sum over n-grams: in a pool unlike the target, which makes sums
    negative, the texts of one word would win. The published code drops them. Raises `BadTextError` on what is
    no text, ValueError on no texts, and unless 1 <= k <= n.
    """
    if not len(target):
        raise BadShapeError("target", "no texts", "at least one")
    check_whole("buckets", buckets)
    check_positive("smoothing", smoothing)
    check_texts(target, "target")
    check_texts(candidates, "candidates")
    grams = HashedGrams(buckets=buckets)
    shares = [grams.counts(texts, advance) for texts in (target, candidates)]
    target_b, pool_b = (count_b / max(count_b.sum(), 1.0) for count_b in shares)
    weight_n = grams.sums(candidates, np.log(target_b + smoothing) - np.log(pool_b + smoothing), advance)
    if draw:
        weight_n = weight_n + gumbel_noise(len(weight_n), ids=ids, seed=seed, purpose="dsir")
    short_n = token_counts(candidates) < (least_tokens(target) if least is None else least)
    return choose(last(-weight_n, short_n), k, ids=ids, seed=seed)


def token_counts(texts: Sequence[str]) -> Buckets:
    """Tokens of each text [n]: words and runs of punctuation."""
    return pl.Series(texts, dtype=pl.String).str.count_matches(TOKEN).to_numpy().astype(np.int64)


def least_tokens(target: Sequence[str]) -> int:
    """Return the tokens under which a text is too short to resemble a target by its words.

    `LEAST_TOKENS`, or half of what the median example has, if less: a few short examples do not let in all
    short texts, which would outrank every long one of a pool unlike the target.
    """
    return min(LEAST_TOKENS, int(OF_THE_MEDIAN * np.median(token_counts(target))))


def last(score_n: Floats, short_n: npt.NDArray[np.bool_]) -> Floats:
    """Return scores [n], smallest first, in which those of a mask [n] follow all others in their order.

    NaN, for no score, stays.
    """
    known_n = np.isfinite(score_n)
    first, behind = score_n[known_n & ~short_n], score_n[known_n & short_n]
    if not len(first) or not len(behind):
        return score_n
    return np.where(short_n, score_n + max(first.max() - behind.min(), 0.0) + 1.0, score_n)


@dataclass(frozen=True, kw_only=True)
class HashedGrams:
    """Unigrams and bigrams of texts, hashed into buckets; the same on every machine."""

    buckets: int

    def counts(self, texts: Sequence[str], advance: Advance = ignore) -> Floats:
        """How often each bucket [b] occurs in all texts together."""
        total_b = np.zeros(self.buckets)
        for _, bucket in self.batches(texts, advance):
            total_b += np.bincount(bucket, minlength=self.buckets)
        return total_b

    def sums(self, texts: Sequence[str], value_b: Floats, advance: Advance = ignore) -> Floats:
        """Sum [n] over the n-grams of each text of the value [b] of their bucket."""
        sum_n = np.zeros(len(texts))
        for start, (text, bucket) in enumerate(self.batches(texts, advance)):
            np.add.at(sum_n, text + start * BATCH_TEXTS, value_b[bucket])
        return sum_n

    def batches(self, texts: Sequence[str], advance: Advance) -> Iterator[tuple[Buckets, Buckets]]:
        """Text (within the batch) and bucket of every n-gram, a batch of texts at a time."""
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = list(texts[start : start + BATCH_TEXTS])
            text_t, hash_t = _token_hashes(batch)
            pair = text_t[1:] == text_t[:-1]
            grams = np.concatenate([hash_t, _mixed(hash_t[:-1], hash_t[1:])[pair]])
            text = np.concatenate([text_t, text_t[1:][pair]])
            yield text, (grams % np.uint64(self.buckets)).astype(np.int64)
            advance(len(batch))


def _token_hashes(texts: list[str]) -> tuple[Buckets, npt.NDArray[np.uint64]]:
    """Text and hash of every token, in order."""
    lists = pl.Series("token", texts, dtype=pl.String).str.to_lowercase().str.extract_all(TOKEN)
    tokens = pl.DataFrame({"token": lists}).with_row_index("text").explode("token").drop_nulls("token")
    distinct = tokens["token"].unique(maintain_order=True)
    digests = b"".join(hashlib.blake2b(token.encode(), digest_size=8).digest() for token in distinct)
    hashes = pl.DataFrame({"token": distinct, "hash": np.frombuffer(digests, dtype="<u8").astype(np.uint64)})
    joined = tokens.join(hashes, on="token", how="left", maintain_order="left")
    return joined["text"].to_numpy().astype(np.int64), joined["hash"].to_numpy()


def _mixed(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash of an ordered pair of hashes: the finaliser of MurmurHash3 over 31 * first + second."""
    mixed = first * np.uint64(31) + second
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(multiplier)
    return mixed ^ (mixed >> np.uint64(33))

"""Texts that are near one another by their words, and chats below one system turn."""

import hashlib
import random

VOCABULARY = [hashlib.sha256(str(number).encode()).hexdigest()[:7] for number in range(3_000)]


def doc_id(text):
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def random_text(rng, words=60):
    return " ".join(rng.choices(VOCABULARY, k=words))


def edited(rng, text, changes):
    words = text.split()
    for place in rng.sample(range(len(words)), changes):
        words[place] = rng.choice(VOCABULARY)
    return " ".join(words)


def pool_of(seed, families=12, copies=5, loners=20):
    """Families of one text edited a little or a lot, so that pairs lie on both sides of the threshold."""
    rng = random.Random(seed)
    texts = [random_text(rng) for _ in range(loners)]
    for _ in range(families):
        member = random_text(rng)
        for _ in range(rng.randint(1, copies)):
            texts.append(member)
            member = edited(rng, member, rng.choice([1, 1, 2, 3]))
    texts = list(dict.fromkeys(texts))
    rng.shuffle(texts)
    return [doc_id(text) for text in texts], texts


SYSTEM = random_text(random.Random(0), 420)


def chats(count, words=12, seed=1, system=SYSTEM):
    rng = random.Random(seed)
    return [f"{system}\n\n{random_text(rng, words)}\n\n{random_text(rng, words)}" for _ in range(count)]

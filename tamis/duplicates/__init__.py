"""Repeats among texts, by words: near-duplicates by MinHash, and text that many documents share."""

"""Plausibility of a text as text, whatever it says: statistics, damage, a model, its tables."""

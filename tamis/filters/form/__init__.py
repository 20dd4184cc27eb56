"""How plausible a text is as text, whatever it says: statistics, damage, a model, its tables."""

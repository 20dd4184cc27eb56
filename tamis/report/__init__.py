"""Pages for people: scaling law, selection, samplers, SQL models, audit; each one a self-contained file."""

"""A score and a sampler for Tamis."""

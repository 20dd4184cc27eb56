"""The sources as they are now, what of them cannot be read, and what to write into tamis.toml."""

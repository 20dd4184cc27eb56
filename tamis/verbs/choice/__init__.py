"""Choices without a project: how files and texts are read, chosen from and written, and made a project."""

"""Choices that leave for other tools, and checkpoints that come back: exports, trainers, `tamis.load`."""

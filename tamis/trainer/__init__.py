"""Trials trained by a command of the user's: what it is given, what it answers, and its runs."""

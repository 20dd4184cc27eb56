"""Answers of commands, without printing: each verb as a function of a project."""

"""`python -m tamis.cli`, the command without its installation."""

from tamis.cli import console

console()

"""The files that take longest, with seconds of the fast suite on two cores: workers begin with them.

A worker that begins a long file last is alone with it at the end. Seconds decide nothing but the order, so it
does when they are about right; a file that is not here comes after those that are.
"""

SECONDS: dict[str, int] = {}

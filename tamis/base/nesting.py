"""JSON values that are nested deeply, which Python's limit on calls that wait for others does not stop here.

The limit (1,000) counts the stack of the caller too, and the parser of JSON: what was read where the stack is
short cannot be parsed again, printed or gone through by recursion where it is long.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def on_own_stack(
    function: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """Call the function, again in a thread, of which the stack is empty, if the stack is too long here."""
    try:
        return function(*arguments, **named)
    except RecursionError:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function, *arguments, **named).result()


def with_leaves(
    value: Any, change: Callable[[Any], Any], drops: Callable[[str], bool] = lambda key: False
) -> Any:
    """Return a copy of a JSON value in which each value that is no object or list is changed.

    `drops`: whether an object loses the value of this key.
    """
    copy = [value]
    left: list[Any] = [copy]
    while left:
        one = left.pop()
        for place, inner in [*one.items()] if isinstance(one, dict) else enumerate(one):
            if isinstance(place, str) and drops(place):
                del one[place]
            elif isinstance(inner, dict | list):
                one[place] = inner.copy()
                left.append(one[place])
            else:
                one[place] = change(inner)
    return copy[0]

"""One answer for a target: which recipe to train by, what it gains over random, and whether choosing pays.

`search` proposes runs under a budget and ranks recipes by them; `guard` tests the winner against random in
new pairs on examples that the search never read; `net` sets what is saved against what was spent; `answer`
says it in one sentence. `parts` divides the examples. Losses are in bits per byte: smaller is better.

`gain` tests a mixture against the natural shares in the same way.
"""

CODE_VERSION = "1"  # raised by hand when the same settings would give other runs or another answer
GAIN_CODE_VERSION = "1"  # likewise, of the test of a mixture

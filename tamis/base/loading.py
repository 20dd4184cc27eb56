"""One model at a time: transformers replaces methods of its classes while it loads a model.

Two threads that load at once restore them in the wrong order and leave every later model of the process
without tied weights, so all loading goes through one lock; it costs nothing where one thread loads.
"""

import threading

ONE_MODEL_AT_A_TIME = threading.RLock()

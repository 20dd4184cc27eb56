"""Large packages are imported without a search for garbage; later ones leave out what they loaded."""

import os
import subprocess
import sys

from projects import CHECKOUT

LARGE = """
import gc
print("while imported:", gc.isenabled(), flush=True)
"""
PROGRAM = """
import gc, sys
from tamis.base.imports import import_well, importing

before = gc.get_freeze_count()
with importing():
    print("before import_well:", gc.isenabled(), gc.get_freeze_count() - before)
import_well()
import_well()
import torch
print("afterwards:", gc.isenabled(), gc.get_freeze_count() > 1000)
with importing():
    with importing():
        pass
    print("within another:", gc.isenabled())
    import duckdb
    duckdb.connect().execute("select 1").fetchall()
first, second = importing(), importing()  # as of two threads
first.__enter__()
second.__enter__()
first.__exit__(None, None, None)
print("while one imports:", gc.isenabled())
second.__exit__(None, None, None)
print("after both:", gc.isenabled())
count = gc.get_freeze_count()
import torch.part
print("a part freezes nothing:", gc.get_freeze_count() <= count, gc.isenabled())
cycle = []
cycle.append(cycle)
del cycle
print("later garbage is found:", gc.collect() > 0)
"""


def test_packages_are_imported_without_a_search_for_garbage(tmp_path):
    (tmp_path / "torch").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "torch" / f"{name}.py").write_text(LARGE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(CHECKOUT), *sys.path])}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.stdout.splitlines() == [
        "before import_well: True 0",
        "while imported: False",
        "afterwards: True True",
        "within another: False",
        "while one imports: False",
        "after both: True",
        "while imported: False",
        "a part freezes nothing: True True",
        "later garbage is found: True",
    ]
    # Extensions report objects that still live at the end of a process.
    assert (ran.returncode, ran.stderr) == (0, "")


def test_on_windows_the_import_says_where_tamis_runs():
    program = "import sys; sys.modules['fcntl'] = None; import tamis"  # as where there is no such module
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 1
    (last,) = done.stderr.splitlines()[-1:]
    assert last.startswith("ImportError: Tamis locks files")
    assert "WSL" in last
    assert "fcntl" not in last

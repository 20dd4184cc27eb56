"""Fits the model of form that is part of the package, tamis/filters/form/model.json.

    python -m benchmarks._form_fit MANUALS

MANUALS: where `dpkg-deb -x` unpacked the packages sqlite3-doc and apache2-doc of Debian.

Raise CODE_VERSION in tamis/filters when it changes.
"""

import sys
from pathlib import Path

from benchmarks._form_data import texts_to_fit
from tamis.filters.form.model import MODEL, fit

TEXTS, DAMAGED = 400, 300
FITTED_ON = (
    "English texts in the public domain or under CC0, CC BY, Apache 2.0, MIT or BSD: p_mixed_free, p_law, "
    "p_arxiv_a, t_goemotions, t_intent, q_clickbait_headlines, q_sms_spam and ukpconvarg1_args of "
    "benchmarks/DATA.md, docstrings, comments and messages of numpy, scipy, scikit-learn, torch, pandas, "
    "dagster and polars, descriptions of installed packages, manuals of SQLite and Apache httpd and their "
    "pages of HTML; the same texts changed harmlessly, and damaged by tamis/filters/form/damage.py"
)


def main() -> None:
    """Fit and write."""
    model = fit(*texts_to_fit(TEXTS, DAMAGED, Path(sys.argv[1])), FITTED_ON)
    model.write(MODEL)
    print(f"{MODEL}: {MODEL.stat().st_size:,} bytes, limit {model.limit}, languages {model.languages}")


if __name__ == "__main__":
    main()

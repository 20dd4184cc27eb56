"""The platform by its import names: relative links to the folders and files at the top of the repository.

So a checkout, an editable install and a wheel, which has files in place of links, import the same names.
"""

from pathlib import Path

if not Path(__file__).with_name("assets").is_dir():
    raise ImportError(
        f"the links in {Path(__file__).parent} were lost, as they are in a file system or an archive without "
        "links; copy the repository with them (`cp -a`, `rsync -a`, `git clone -c core.symlinks=true`), or "
        "install Tamis as a wheel, which needs none"
    )

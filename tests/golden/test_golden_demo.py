"""The demo of version 0.1, cut down: everything it gives is as it was."""

import golden_projects


def test_the_demo_gives_what_it_gave(tmp_path, encoder_cache):
    assert golden_projects.check("demo-0.1", tmp_path / "project", encoder_cache) == ""

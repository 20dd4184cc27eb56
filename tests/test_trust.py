"""What came with a project runs, and gets secrets, only once somebody on this machine has accepted it."""

import contextlib
import hashlib
import json

import lancedb
import pyarrow as pa
import pytest
from projects import plain_project, selection, settings

from tamis.base.trust import TRUST, Consent, NoRecordError, UntrustedError, accept, accepted, record_file
from tamis.cli import main
from tamis.project import open_project
from tamis.runtime.driver import materialize
from tamis.runtime.instance import open_instance
from tamis.runtime.instance_file import EARLIER, ON_POSTGRES, ON_SQLITE, WRITTEN_ON_POSTGRES, prepare_folder
from tamis.scan.precheck import LOGGED, _without_tracker, untrusted_lines
from tamis.scan.sources import scan
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.trust import asked_by, is_here
from tamis.verbs.status import read_status

OF_0_2 = "5f7cc67ba0998b5ad458cab6337847ec33cecdf3ee581b03b2eafce2f7f02df9"
"""SHA-256 of the dagster.yaml of a home on SQLite."""
RUNS_A_MODULE = "instance_class:\n  module: of_a_stranger\n  class: Any\n"
RAY = '[engine]\nkind = "ray"\naddress = "{}"\n'
REMOTE_JUDGE = '[judge]\nurl = "https://judge.example/v1"\nmodel = "m"\nkey_env = "AWS_SECRET_ACCESS_KEY"\n'


@pytest.fixture(autouse=True)
def _own_record(tmp_path, monkeypatch, nowhere):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def project_of(folder, *parts, **automation):
    return plain_project(folder, settings(*parts, selection("best"), **automation), {}).project


@pytest.fixture
def cloned(tmp_path, monkeypatch):
    """A project whose home came with a dagster.yaml that has a module imported, which makes a file."""
    project = project_of(tmp_path / "cloned")
    project.home.dagster.mkdir(parents=True)
    (project.home.dagster / "dagster.yaml").write_text(RUNS_A_MODULE)
    (tmp_path / "of_a_stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nAny = int\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(project.root)
    return project


def test_a_dagster_yaml_that_came_with_a_project_runs_nothing_until_it_is_accepted(cloned, tmp_path, capsys):
    with pytest.raises(UntrustedError, match=r"was not written by Tamis.*`tamis trust`.*remove that file"):
        open_instance(cloned)
    assert not (tmp_path / "ran").exists()
    assert main(["trust", "--list"]) == 0
    assert "not accepted: " in capsys.readouterr().out
    with pytest.raises(UntrustedError):
        open_instance(cloned)
    assert main(["trust"]) == 0
    assert f"accepted: {cloned.home.dagster / 'dagster.yaml'} was not written" in capsys.readouterr().out
    with contextlib.suppress(Exception):  # an int is no instance
        open_instance(cloned)
    assert (tmp_path / "ran").exists(), "the file of this test does run something"


@pytest.mark.parametrize("change", ["content", "place"])
def test_an_acceptance_holds_for_one_file_with_one_content(cloned, tmp_path, monkeypatch, change):
    assert main(["trust"]) == 0
    path = cloned.home.dagster / "dagster.yaml"
    if change == "content":
        path.write_text(path.read_text() + "# changed\n")
        moved = cloned
    else:
        monkeypatch.delenv("TAMIS_PROJECT")
        moved = open_project(cloned.root.rename(tmp_path / "moved"))
    with pytest.raises(UntrustedError):
        prepare_folder(moved)


def test_what_tamis_wrote_itself_is_not_asked_about(tmp_path):
    project = project_of(tmp_path)
    folder = prepare_folder(project)
    for text in (ON_SQLITE, *EARLIER, ""):
        (folder / "dagster.yaml").write_text(text)
        prepare_folder(project)
    written = hashlib.sha256(ON_SQLITE.encode()).hexdigest()
    assert written == "5f7cc67ba0998b5ad458cab6337847ec33cecdf3ee581b03b2eafce2f7f02df9", (
        "keep the text of 0.2 in EARLIER"
    )
    assert hashlib.sha256(ON_POSTGRES.read_bytes()).hexdigest() in WRITTEN_ON_POSTGRES
    assert main(["-C", str(project.root), "trust"]) == 0
    assert accepted() == []


def test_a_server_accepts_by_a_variable(cloned, monkeypatch):
    monkeypatch.setenv(TRUST, "1")
    prepare_folder(cloned)
    monkeypatch.setenv(TRUST, "0")
    with pytest.raises(UntrustedError):
        prepare_folder(cloned)


@pytest.mark.parametrize("content", ["", "[", "{}", '[{"file": 1}]', "[[]]", '[{"file": "/x"}]'])
def test_a_damaged_record_accepts_nothing_and_is_written_again(cloned, content):
    record_file().parent.mkdir(parents=True)
    record_file().write_text(content)
    with pytest.raises(UntrustedError):
        prepare_folder(cloned)
    assert main(["trust"]) == 0
    prepare_folder(cloned)


def test_a_record_in_the_working_directory_counts_for_nothing(cloned, monkeypatch, tmp_path):
    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.user_state_dir", lambda name: f"~/.local/state/{name}")
    with pytest.raises(NoRecordError, match="set HOME"):
        accept([Consent.of(tmp_path / "file", "does something")])
    assert accepted() == []


@pytest.mark.parametrize(
    ("parts", "automation", "said"),
    [
        ([REMOTE_JUDGE], {}, "sends the value of the variable AWS_SECRET_ACCESS_KEY to judge.example"),
        ([REMOTE_JUDGE.replace("judge.example", "127.0.0.1:8000")], {}, None),
        ([REMOTE_JUDGE.replace("key_env", "# key_env")], {}, None),
        (
            [],
            {"webhook": "https://hook.example/x", "webhook_key_env": "GITHUB_TOKEN"},
            "sends the value of the variable GITHUB_TOKEN to hook.example",
        ),
        ([], {"webhook": "https://hook.example/x"}, None),
        (
            ['[engine]\nkind = "ray"\naddress = "head:6379"\n'],
            {},
            "lets the Ray cluster at head:6379 run code",
        ),
        (['[engine]\nkind = "ray"\naddress = "auto"\n'], {}, None),
        (['[tracking]\nuri = "https://mlflow.example"\n'], {}, "MLFLOW_TRACKING_TOKEN to mlflow.example"),
        (['[tracking]\nuri = "http://localhost:5000"\n'], {}, None),
        (
            ["[tracking]\nuri = 'http://a.example\\@localhost/'\n"],
            {},
            "TOKEN to http://a.example\\@localhost/",
        ),
        (
            ["[tracking]\nuri = 'http://a.example\\.localhost/'\n"],
            {},
            "TOKEN to http://a.example\\.localhost",
        ),
        (['[tracking]\nuri = "http://localhost/?@a.example"\n'], {}, None),
        (
            ['[tracking]\nuri = "postgresql://a.example/db"\n'],
            {},
            "sends the value of the variable PGPASSWORD to a.example",
        ),
        (['[tracking]\nuri = "postgresql:///db?host=a.example"\n'], {}, "PGPASSWORD to a.example"),
        (
            ['[tracking]\nuri = "postgresql://localhost/db?host=%2Ftmp,a.example"\n'],
            {},
            "PGPASSWORD to a.example",
        ),
        (
            ['[tracking]\nuri = "postgresql+psycopg2://localhost/db?hostaddr=192.0.2.1"\n'],
            {},
            "PGPASSWORD to 192.0.2.1",
        ),
        (
            ['[tracking]\nuri = "postgresql://localhost?@a.example/db"\n'],
            {},
            "PGPASSWORD to postgresql://localhost?@a.example/db",
        ),
        (['[tracking]\nuri = "postgresql://localhost/db?host=/run/postgresql"\n'], {}, None),
        (['[tracking]\nuri = "postgresql:///db"\n'], {}, None),
        (['[tracking]\nuri = "mysql+pymysql://a.example/db"\n'], {}, "MYSQL_PWD to a.example"),
        (['[tracking]\nuri = "sqlite:////tmp/x.db"\n'], {}, None),
    ],
)
def test_secrets_and_foreign_clusters_are_asked_about(tmp_path, monkeypatch, parts, automation, said):
    for variable in ("MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "MYSQL_PWD"):
        monkeypatch.setenv(variable, "secret")
    project = project_of(tmp_path, *parts, **automation)
    asked = asked_by(project)
    assert [said in one.effect for one in asked] == ([True] if said else [])
    if said:
        with pytest.raises(UntrustedError, match="tamis trust"):
            materialize(project, None, None, print)
        accept(asked)
        (project.root / "tamis.toml").write_text((project.root / "tamis.toml").read_text() + "\n# edited\n")
        assert asked_by(open_project(project.root)) == asked, "another edit does not ask again"


def test_the_password_that_mlflow_keeps_in_a_file_is_a_secret(tmp_path, monkeypatch):
    project = project_of(tmp_path, '[tracking]\nuri = "https://mlflow.example"\n')
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert asked_by(project) == []
    credentials = tmp_path / "user" / ".mlflow" / "credentials"
    credentials.parent.mkdir(parents=True)
    credentials.write_text("[mlflow]\nmlflow_tracking_username = a\nmlflow_tracking_password = b\n")
    assert [one.effect for one in asked_by(project)] == [
        "sends the password in ~/.mlflow/credentials to mlflow.example"
    ]


def test_a_plan_signs_in_to_no_server_that_nobody_has_accepted(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    monkeypatch.setattr("tamis.scan.precheck.require_experiment", lambda *_: pytest.fail("signs in"))
    monkeypatch.setattr("tamis.scan.precheck.require_tracker", lambda *_: pytest.fail("asks"))
    project = project_of(tmp_path, '[tracking]\nuri = "https://mlflow.example"\n')
    assert not [*_without_tracker(project, LOGGED)], "that all stops is said once"
    (project.root / "documents").mkdir(exist_ok=True)
    (line,) = untrusted_lines(scan(project), [])
    assert line.startswith("`tamis materialize` will stop: ")
    assert "`tamis trust`" in line
    assert f"warning: {line}" in read_status(project).lines()


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("a.localhost.", True),
        ("0.0.0.0", False),
        ("10.0.0.5", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_which_addresses_are_this_machine(host, here):
    assert is_here(host) == here


@pytest.mark.parametrize("write", ["append", "insert_new", "merge", "overwrite"])
def test_a_table_makes_no_embedding_function_that_came_with_it(tmp_path, write):
    made = []

    @lancedb.embeddings.register("of_a_stranger")
    class Function(lancedb.embeddings.TextEmbeddingFunction):
        def __init__(self, **given):
            super().__init__(**given)
            made.append(given)  # as `huggingface` loads a model, with the code in its folder

        def ndims(self):
            return 2

        def generate_embeddings(self, texts):
            return [[0.0, 0.0] for _ in texts]

    functions = [{"name": "of_a_stranger", "model": {}, "vector_column": "v", "source_column": "part"}]
    schema = schema_of("judge_sample").with_metadata({"embedding_functions": json.dumps(functions)})
    Store(tmp_path).names()
    lancedb.connect(tmp_path).create_table("judge_sample", schema=schema)
    made.clear()
    rows = pa.table([["0" * 32], ["train"]], schema=schema_of("judge_sample"))
    getattr(Store(tmp_path), write)("judge_sample", rows)
    assert made == []
    assert Store(tmp_path).count("judge_sample") == 1

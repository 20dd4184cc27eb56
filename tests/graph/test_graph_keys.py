"""Input keys: everything that a value depends on changes its key, and nothing else does."""

from dataclasses import replace

import pytest
from projects import Imagined, base_model, corpus, plain_project, score, selection, settings, target

from tamis.graph.plan import due_partitions, input_key
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValue
from tamis.settings.samplers import SAMPLERS, weighs_quality

ENTRY = ("density_scores", "")


@pytest.fixture
def made(imagined):
    """The project with everything made."""
    imagined.materialize()
    return imagined


def with_seed(snapshot, seed: int):
    """The snapshot of the same project with another seed."""
    settings = snapshot.project.settings
    other = settings.project.model_copy(update={"seed": seed})
    return replace(
        snapshot, project=replace(snapshot.project, settings=settings.model_copy(update={"project": other}))
    )


def test_code_settings_seed_and_versions_of_inputs_each_change_the_key(made):
    snapshot, stage = made.snapshot(), stages()[ENTRY[0]]
    before = input_key(stage, "", snapshot, made.current)
    sketch = made.current["density_sketch", ""]
    others = [
        input_key(replace(stage, name="another"), "", snapshot, made.current),
        input_key(stage, "partition", snapshot, made.current),
        input_key(replace(stage, code_version="another"), "", snapshot, made.current),
        input_key(replace(stage, settings=lambda snapshot, key: {"width": 2.0}), "", snapshot, made.current),
        input_key(stage, "", with_seed(snapshot, 7), made.current),
        input_key(
            stage, "", snapshot, made.current | {("density_sketch", ""): replace(sketch, data_version="2")}
        ),
    ]
    assert before is not None
    assert len({before, *others}) == 1 + len(others)


def test_settings_that_do_not_change_a_result_do_not_change_the_key(made):
    snapshot, stage = made.snapshot(), stages()[ENTRY[0]]
    before = input_key(stage, "", snapshot, made.current)
    sketch = made.current["density_sketch", ""]
    again = replace(sketch, manifest="another", attempt="another", input_key="another", settled=False)
    assert input_key(stage, "", snapshot, made.current | {("density_sketch", ""): again}) == before
    turned = replace(stage, edges=tuple(reversed(stage.edges)))
    assert input_key(turned, "", snapshot, made.current) == before


def test_another_seed_makes_everything_out_of_date(made):
    due = {
        name
        for name, stage in stages().items()
        if [*due_partitions(stage, with_seed(made.snapshot(), 7), made.current)]
    }
    assert {"raw_shards", "target_examples", "tokenizer"} <= due


@pytest.mark.parametrize("state", [{"passed": False}, {"finished": False}])
def test_a_refused_or_interrupted_value_is_no_input(made, state):
    value = made.current["density_sketch", ""]
    current = made.current | {("density_sketch", ""): CurrentValue(**value.__dict__ | state)}
    assert input_key(stages()[ENTRY[0]], "", made.snapshot(), current) is None


def test_what_divides_by_sources_depends_on_what_a_source_is(tmp_path):
    def counted(sources: str) -> list[bool]:
        """Return of the mixture's design and of the selections whether it does."""
        text = settings(
            corpus("web"),
            corpus("books"),
            target(),
            f'[mixture]\ntarget = "goal"\nmodel = "llama-0.3m"\nsources = "{sources}"\n',
            "train_tokens = 4_000\n",
            selection("mixed", budget="4ktok", mixture=True),
            selection("divided", "random", 4, per="source", maximum_shares=0.5),
            selection("spoken", "random", 4, per="language", maximum_shares=0.5),
        )
        snapshot = Imagined(plain_project(tmp_path / sources, text, {}).project).snapshot()
        chosen = stages()["selected_subset"].settings
        found = [stages()["mixture_design"].settings(snapshot, "")]
        found += [chosen(snapshot, name) for name in ("mixed", "divided", "spoken")]
        return ["small_files" in one for one in found]

    assert counted("source") == [True, True, True, False]
    assert counted("corpora") == [False, False, True, False]


def test_versions_of_samplers_are_settings_of_all_that_ranks_by_them(tmp_path):
    text = settings(
        corpus("web"),
        target(),
        base_model(),
        '[mixture]\ntarget = "goal"\nmodel = "llama-0.3m"\nsampler = "dsir"\nsources = "source"\n',
        "train_tokens = 4_000\n",
        '[sampler_trials]\nmodel = "small"\ntarget = "goal"\nsamplers = ["knn", "classifier"]\n',
        selection("words", "dsir", 4, target="goal"),
        selection("near", "knn", 4, target="goal"),
    )
    snapshot = Imagined(plain_project(tmp_path, text, {}).project).snapshot()
    chosen = stages()["selected_subset"].settings
    assert chosen(snapshot, "words")["sampler_version"] == SAMPLERS["dsir"].version == "2"
    assert "sampler_version" not in chosen(snapshot, "near")
    assert stages()["mixture_design"].settings(snapshot, "")["sampler_versions"] == {"dsir": "2"}
    assert stages()["sampler_trials"].settings(snapshot, "")["sampler_versions"] == {"classifier": "2"}


def _of_selection(name: str, **quality: str) -> str:
    return selection("chosen", name, target="goal", **quality)


def _of_trials(name: str) -> str:
    return f'[sampler_trials]\nmodel = "small"\ntarget = "goal"\nsamplers = ["{name}"]\n'


def _of_tune(name: str, quality: str = "") -> str:
    text = f'[tune]\ntarget = "goal"\nmodels = ["small"]\nsamplers = ["{name}"]\n'
    return text + (f'quality = "{quality}"\n' if quality else "")


@pytest.mark.parametrize(
    "section",
    [
        write(name, **more)
        for write, without in (
            (_of_selection, {"got-d-contrast"}),
            (_of_trials, {"got-d-contrast"}),
            (_of_tune, {"got-d-contrast", "got-d-debiased"}),
        )
        for name in (*SAMPLERS, "score:edu", "perplexity:small", "target-path:small", "ask-llm:judge")
        if name not in without
        for more in ([{}, {"quality": "edu"}] if weighs_quality(name) and write is not _of_trials else [{}])
    ],
)
def test_no_stage_that_is_made_waits_for_an_input_that_never_is(tmp_path, section):
    text = settings(
        corpus(),
        target(train=110, held_out=40),
        score("edu", "edu", range=[0, 5]),
        base_model(),
        '[perplexity]\nmodel = "small"',
        section,
    )
    snapshot = plain_project(tmp_path / "project", text).snapshot
    for stage in stages().values():
        for key in snapshot.keys(stage.partitions) if stage.active(snapshot) else ():
            read = {edge.asset for edge in stage.edges if edge.partitions(snapshot, key)}
            unmade = {name for name in read if not stages()[name].active(snapshot)}
            assert not unmade, f"{stage.name}[{key}]"

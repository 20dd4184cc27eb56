"""The page of the recipe to train by, and its lines for the terminal, from rows that a test writes."""

import io
import tomllib
from datetime import datetime

import numpy as np
import pytest
from PIL import Image
from projects import SmallProject, base_model, plain_project, rows_of, score, settings, target

from tamis.report.index import write_index
from tamis.report.runs.recipe import NO_ANSWER, PAGE, SECTION, recipe_lines, recipe_page, recipe_plot_png
from tamis.settings.config import Settings
from tamis.tuning.stage import RECIPES

TUNE = '[tune]\ntarget = "goal"\nmodels = ["small"]\nsamplers = ["got-d-quality"]\nquality = "edu"\n'
SENTENCE = (
    "Use got-d 10%: at 22M parameters and 200k tokens, it lowers the loss on goal by 0.031 bits per byte."
)
GOT_D = {"sampler": "got-d", "share": "10%", "model": "small", "learning_rate": 0.002}
ANSWER = GOT_D | {
    **{"target": "goal", "recipe": "got-d 10%", "reference": "random", "kind": "use", "sentence": SENTENCE},
    **{"look": 2, "level": 0.05 / 6, "shipped": True, "pairs": 3, "examples": 40},
    **{"difference": -0.031, "low": -0.052, "high": -0.011, "seen": 0.0204},
    **{"given_shipped": -0.024, "given_low": -0.05, "given_high": -0.002},
    **{"control": "news", "control_difference": 0.004, "control_low": -0.01, "control_high": 0.018},
    **{"harms": False, "parameters": 22e6, "tokens": 200_000, "fitted": 160, "validated": 60},
    **{"budget_flop": 1e15, "choosing_flop": 5e13, "search_flop": 4e14, "guard_flop": 1.7e14},
    **{"own_flop": 3e13, "bound": "exact", "reached_flop": 1e15, "net": 1.84, "net_seconds": 1.61},
    **{"break_even": 3_000_000.0, "agreement": 0.87, "agreement_low": 0.7, "agreement_high": 0.95},
    **{"compared": 6},
}
BASE_MODEL = "base model: small, learning_rate = 0.002 (of a model 256 wide)"
WITHOUT_AGREEMENT = dict.fromkeys(("agreement", "agreement_low", "agreement_high", "compared"))
WITHOUT_CONTROL = dict.fromkeys(("control", "control_difference", "control_low", "control_high", "harms"))
WITHOUT_PROOF = dict.fromkeys(("given_shipped", "given_low", "given_high"))
SEARCHED = [
    GOT_D
    | {"recipe": "got-d 10%", "place": 1, "loss": 1.512, "shrunken": 1.52, "error": 0.01, "best": 0.874}
    | {"runs": 6, "failed": 0, "finalist": True, "chosen": True},
    {"recipe": "random", "sampler": "random", "share": "20%", "model": "small", "learning_rate": 0.001}
    | {"place": 2, "loss": 1.55, "shrunken": 1.545, "error": 0.012, "best": 0.126, "runs": 6, "failed": 1}
    | {"finalist": True, "chosen": False},
    {"recipe": "knn 10%", "sampler": "knn", "share": "10%", "model": "small", "learning_rate": 0.001}
    | {"place": 3, "runs": 2, "failed": 2, "finalist": False, "chosen": False},
]


@pytest.fixture
def new(tmp_path):
    def make(answer: dict | None = None, recipes: list[dict] = SEARCHED, **stated: object) -> SmallProject:
        project = plain_project(
            tmp_path / "project", settings(target(), base_model(), score(range=[0, 5]), TUNE)
        )
        write(project, "recipes", *recipes)
        write(project, "tune_answers", (ANSWER if answer is None else answer) | stated)
        return project

    return make


def write(project: SmallProject, table: str, *rows: dict) -> None:
    project.store.append(table, rows_of(table, rows))


def guard_run(recipe: str, seed: int, loss: float | None, **stated: object) -> dict:
    own = {"run": f"{recipe} {seed} {stated.get('look', 2)}", "target": "goal", "part": "guard", "look": 2}
    return own | {"recipe": recipe, "seed": seed, "portion": 1.0, "bits_per_byte": loss} | stated


def looked(look: int, held_out: str = "these", **stated: object) -> dict:
    begun = {"target": "goal", "winner": "w", "begun_at": datetime(2026, 11, look)}
    return begun | {"held_out": held_out, "look": look, "recipe": "got-d 10%"} | stated


def pasted(project: SmallProject) -> dict:
    """Return the selection that the lines hold, as the project's own settings read it."""
    lines = recipe_lines(project.project)
    start = lines.index("[[selection]]")
    text = "\n".join(lines[start:-1])
    (section,) = Settings.model_validate(tomllib.loads(f"{project.text}\n{text}")).selection
    return section.model_dump()


def test_the_answer_and_what_a_decision_needs_come_first(new, read_page):
    project = new()
    text = read_page(recipe_page(project.project))
    order = [
        SENTENCE,
        "loss on goal, less that of random -0.031 bits per byte 90 % interval: -0.052 to -0.011",
        "loss on control news, less that of random +0.004 bits per byte 90 % interval: -0.010 to +0.018; "
        "not proven worse",
        "net gain 1.84 times in FLOP, 1.61 times in seconds",
        "spent 62 % of the budget 6.2e+14 of 1e+15 FLOP: choosing 5e+13, search 4e+14, guard 1.7e+14",
        "given that it was proven -0.024 bits per byte 90 % interval: -0.050 to -0.002",
        "probability of being best 87 %",
        "smallest effect that would have been seen 0.020 bits per byte",
        "break-even 3,000,000 tokens of training",
        "agreement between sizes 87 % 90 % interval: 70 % to 95 %",
        "22,000,000",
        "87 % of the pairs of recipes (90 % interval: 70 % to 95 %) came in the same order",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "Nothing is said of another size" not in text
    assert '<p class="answer large green">' in recipe_page(project.project)


def test_the_terminal_says_the_same_in_few_lines_and_a_section_that_settings_accept(new):
    project = new()
    lines = recipe_lines(project.project)
    assert lines[0] == SENTENCE
    figures = lines[1 : lines.index("[[selection]]") - 1]
    assert len(figures) <= 12
    assert [line.partition(":")[0] for line in figures] == [
        "loss on goal, less that of random",
        "loss on control news, less that of random",
        "net gain",
        "spent",
        "difference, given that it was proven",
        "learning rate",
        "probability of being best",
        "smallest effect that would have been seen",
        "break-even",
        "agreement between sizes",
    ]
    assert figures[0].endswith(": -0.031 bits per byte (90 % interval: -0.052 to -0.011; negative is better)")
    assert lines[-1] == BASE_MODEL
    section = pasted(project)
    assert (section["name"], section["sampler"], section["budget"]) == (SECTION, "got-d", "10%")
    assert (section["target"], section["quality"]) == ("goal", None)


def test_a_recipe_that_reads_quality_names_the_score_and_its_weight(new):
    section = pasted(new(sampler="got-d-quality", quality_weight=0.5, share="500"))
    assert (section["sampler"], section["quality"], section["quality_weight"]) == (
        "got-d-quality",
        "edu",
        0.5,
    )
    assert section["budget"] == 500


def test_what_is_not_proven_gives_the_settings_of_random(new, read_page):
    project = new(**WITHOUT_PROOF, shipped=False, kind="no gain", sentence="Choosing does not pay here.")
    page = recipe_page(project.project)
    text = read_page(page)
    assert '<p class="answer large ">Choosing does not pay here.</p>' in page
    assert "given that it was proven -" not in text
    assert "got-d 10% is not proven better; settings of random, for tamis.toml:" in text
    lines = recipe_lines(project.project)
    assert not [line for line in lines if line.startswith(("difference, given", "net gain", "break-even"))]
    assert lines[-1] == "base model: small, learning_rate = 0.001 (of a model 256 wide)"
    section = pasted(project)
    assert (section["sampler"], section["budget"], section["target"]) == ("random", "20%", None)


def test_a_reference_that_was_not_searched_is_random_trained_as_the_winner_is(new):
    project = new(**WITHOUT_PROOF, recipes=[SEARCHED[0]], shipped=False, kind="no gain")
    assert recipe_lines(project.project)[-1] == BASE_MODEL
    assert (pasted(project)["sampler"], pasted(project)["budget"]) == ("random", "10%")


def test_a_proven_gain_that_does_not_pay_gives_the_settings_of_random(new):
    project = new(kind="no gain", net=0.4)
    assert "got-d 10% does not pay; settings of random, for tamis.toml:" in recipe_lines(project.project)
    assert pasted(project)["sampler"] == "random"


def test_harm_on_the_control_is_said_and_marked(new, read_page):
    project = new(kind="harms", harms=True, control="pool", control_difference=0.05, control_low=0.02)
    page = recipe_page(project.project)
    text = read_page(page)
    assert '<p class="answer large amber">' in page
    assert "loss on the pool, less that of random +0.050 bits per byte" in text
    assert "+0.020 to +0.018; proven worse" in text
    assert "sampler = &#34;got-d&#34;" in page or "sampler = &quot;got-d&quot;" in page, "a person decides"


def test_recipes_that_are_alike_are_an_answer_to_use(new, read_page):
    sentence = "Take got-d 10%, which does as well as knn 10% and costs no more."
    project = new(kind="alike", sentence=sentence, **WITHOUT_AGREEMENT)
    page = recipe_page(project.project)
    assert f'<p class="answer large green">{sentence}</p>' in page
    text = read_page(page)
    assert "Nothing is said of another size" in text
    assert "agreement between sizes" not in text
    assert not [line for line in recipe_lines(project.project) if line.startswith("agreement")]


def test_without_a_control_what_it_costs_elsewhere_is_unknown(new, read_page):
    project = new(**WITHOUT_CONTROL)
    write(project, "tune_runs", guard_run("got-d 10%", 0, 1.5), guard_run("random", 0, 1.53))
    text = read_page(recipe_page(project.project))
    assert "loss elsewhere not measured" in text
    assert "control: got-d" not in text
    assert any(line.startswith("loss elsewhere: not measured") for line in recipe_lines(project.project))


def test_recipes_without_a_loss_are_last_with_dashes(new, read_page):
    text = read_page(recipe_page(new().project))
    rows = [
        "1 got-d 10% winner got-d 10% small 0.002 1.512 1.520 0.010 87 % 6 0 yes",
        "2 random random 20% small 0.001 1.550 1.545 0.012 13 % 6 1 no",
        "3 knn 10% knn 10% small 0.001 – – – – 2 2 no",
    ]
    rows[1] = rows[1].replace(" no", " yes")
    assert " ".join(rows) in text


def test_a_winner_without_a_sampler_has_no_section(new, read_page):
    alone = {"recipe": "examples alone", "sampler": None, "share": None}
    project = new(recipes=[SEARCHED[0] | alone, *SEARCHED[1:]], **alone)
    text = read_page(recipe_page(project.project))
    assert "1 examples alone winner none: examples alone – small" in text
    assert "no [[selection]] for examples alone: the training examples of the target alone are learnt" in text
    lines = recipe_lines(project.project)
    assert not [line for line in lines if line.startswith("best recipe that chooses")], "knn has no loss"
    assert "[[selection]]" not in lines
    assert lines[-1] == BASE_MODEL


def test_ends_without_a_bound_and_figures_that_are_unknown_are_said(new, read_page):
    project = new(given_high=None, break_even=None, bound="at most", net=0.4, net_seconds=None)
    text = read_page(recipe_page(project.project))
    assert "90 % interval: from -0.050, unbounded above" in text
    assert "break-even never: " in text
    assert "net gain at most 0.4 times in FLOP what random" in text
    recipe_plot_png(project.store.read("recipes"), ANSWER | {"given_high": None, "given_low": None})


def test_beyond_randoms_curve_gain_and_break_even_are_unknown(new):
    lines = recipe_lines(new(bound="at least").project)
    assert (
        "net gain: unknown (random did not reach the winner's loss in 200,000 tokens; choosing has paid if "
        "it needs more than 21.7 times as many)"
    ) in lines
    assert any(line.startswith("break-even: unknown: ") for line in lines)


def test_break_even_is_compared_with_the_training_that_the_recipe_is_for(new):
    project, before = new(), "models ="
    for tokens, pays in ((2_000_000, "does not pay"), (4_000_000, "pays")):
        text = f"train_tokens = {tokens}\nmodels ="
        project.reconfigure(before, text)
        before = text
        assert (
            f"break-even: 3,000,000 tokens of training: for train_tokens = {tokens:,} choosing {pays}, if "
            "the saved share stays the same"
        ) in recipe_lines(project.project)


def test_the_time_of_all_runs_is_part_of_what_was_spent(new):
    project = new()
    searched = guard_run("random", 5, 1.5, part="search", seconds=50.0, scoring_seconds=20.0)
    write(project, "tune_runs", guard_run("random", 1, 1.5, seconds=110.0), searched)
    spent = next(line for line in recipe_lines(project.project) if line.startswith("spent"))
    assert spent.endswith("guard 1.7e+14; 3 min of runs)")


def test_a_rate_at_an_end_and_a_better_rate_of_random_are_said(new):
    alike = SEARCHED[1] | {"recipe": "random, rate 0.002", "place": 3, "learning_rate": 0.002, "loss": 1.6}
    recipes = [SEARCHED[0], SEARCHED[1] | {"share": "10%"}, alike, SEARCHED[2] | {"place": 4}]
    project = new(recipes=recipes, reference="random, rate 0.002")
    lines = recipe_lines(project.project)
    assert (
        "learning rate: 0.002, the largest that was searched (a larger one may be better: add it to "
        "learning_rates)"
    ) in lines
    assert any(
        line.startswith(
            "random at its own best rate: random (place 2 in the search, random, rate 0.002 place 3"
        )
        for line in lines
    )


def test_pairs_are_those_of_this_look_side_by_side(new, read_page):
    project = new()
    write(
        project,
        "tune_runs",
        guard_run("random", 1, 1.51, control_bits_per_byte=2.01),
        guard_run("got-d 10%", 1, 1.48, control_bits_per_byte=2.015),
        guard_run("got-d 10%", 0, 1.5, control_bits_per_byte=2.0),
        guard_run("random", 0, None, failure="the loss is not finite"),
        guard_run("got-d 10%", 7, 9.0, look=1),
        guard_run("got-d 10%", 8, 9.0, part="search", look=0),
    )
    text = read_page(recipe_page(project.project))
    assert (
        "failure 0 1.500 – – 2.000 – – the loss is not finite 1 1.480 1.510 -0.030 2.015 2.010 0.005 –"
        in text
    )
    assert "9.000" not in text


def test_looks_are_those_at_the_same_examples_with_their_levels(new, read_page):
    project = new()
    write(
        project,
        "tune_looks",
        looked(1, recipe="knn 10%", shipped=False),
        looked(2, shipped=True),
        looked(1, "others", recipe="of other examples"),
    )
    text = read_page(recipe_page(project.project))
    assert "1 knn 10% 0.02500 no 2026-11-01 00:00 2 got-d 10% 0.00833 yes 2026-11-02 00:00" in text
    assert "of other examples" not in text


def test_names_are_escaped_and_drawn_as_they_are(new, hostile, read_page):
    name = f"$\\frac{{1}}$ {hostile}"
    named = {"recipe": name}
    project = new(recipes=[SEARCHED[0] | named, *SEARCHED[1:]], control=hostile, sentence=hostile, **named)
    assert hostile in read_page(recipe_page(project.project))


def test_the_winner_is_drawn_first_and_a_recipe_without_a_loss_is_not(new):
    project = new()
    recipes = project.store.read("recipes").sort("place")
    content = recipe_plot_png(recipes, None)
    assert len(content) < 60_000
    blue = is_blue(content)
    assert blue.any()
    assert np.flatnonzero(blue.any(axis=1)).mean() < len(blue) / 2, "the best is on top"
    assert recipe_plot_png(recipes.head(2), None) == content, "knn 10% has no loss"


def is_blue(content: bytes) -> np.ndarray:
    red, green, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), int), 2, 0)
    return (blue > red + 80) & (blue > green + 40)


def test_a_project_that_was_not_tuned_says_what_to_run(tmp_path, read_page):
    project = plain_project(tmp_path / "project", settings(target(), base_model()))
    assert recipe_lines(project.project) == [NO_ANSWER]
    text = read_page(recipe_page(project.project))
    assert NO_ANSWER.replace("`", "") in text
    assert "Recipes place" not in text
    write(project, RECIPES.name, *SEARCHED)
    text = read_page(recipe_page(project.project))
    assert "1 got-d 10%" in text, "the search has ended, the test has not"


def test_the_index_leads_to_the_page_once_it_is_written(new):
    project = new()
    (project.home.reports / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (project.home.reports / PAGE).write_text(recipe_page(project.project))
    assert write_index(project.snapshot, project.current, [])
    assert f'<a href="{PAGE}">which recipe' in (project.home.reports / "index.html").read_text()

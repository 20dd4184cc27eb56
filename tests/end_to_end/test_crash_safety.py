"""kill -9 at any moment, then resume: what an undisturbed run leaves, no row lost, orphaned or doubled.

Five kills are in test_damage.py, and each commit of a run is one in
graph/scenarios/test_graph_commit_points.py; these are up to fifty more, in homes that live on.
"""

import random

from crashes import draw, kill, lay, usual
from parts import in_parts
from projects import TRAINED, make_project, small_settings
from soundness import assert_sound, versions

from tamis.verbs.plan import read_plan


def rests(project) -> bool:
    """Whether nothing is left to do."""
    return not read_plan(project.project)


@in_parts(5, tried=2, name="seed")
def test_up_to_ten_kills_in_a_home_that_lives_on(tmp_path, encoder_cache, seed):
    calm = make_project(tmp_path / "calm", encoder_cache, small_settings())
    torn = make_project(tmp_path / "torn", encoder_cache, small_settings())
    calm.tamis("materialize", alone=True)
    known, chance, killed = usual(calm), random.Random(seed), 0
    for midway, state in (("third", "first"), ("third", "second")):
        lay(calm, state)
        calm.tamis("materialize", alone=True)
        for laid, kills in ((midway, 2), (state, 3)):
            lay(torn, laid)
            for _ in range(kills):
                if not rests(torn):
                    (moment,) = draw(torn, known, 1, chance)  # after a kill the order is another
                    killed += kill(torn, *moment)
        assert torn.json("audit")["status"] in ("green", "amber"), "interrupted is not altered"
        torn.tamis("materialize")
        assert versions(torn) == versions(calm), f"seed {seed}, {state}"
        assert_sound(torn)
    assert killed >= 5


@in_parts(3, name="seed")
def test_up_to_ten_kills_from_the_judge_to_the_trials(tmp_path, encoder_cache, seed):
    """Base models are never trained again because files came, so these kills are within one build."""
    calm = make_project(tmp_path / "calm", encoder_cache, small_settings(TRAINED))
    torn = make_project(tmp_path / "torn", encoder_cache, small_settings(TRAINED))
    calm.tamis("materialize", alone=True)
    known = usual(calm)
    assert {"judge_scores", "quality_scores", "base_models", "trials", "model_choice"} <= set(known.order)
    chance, killed = random.Random(seed), []
    while len(killed) < 10 and not (killed and rests(torn)):
        (moment,) = draw(torn, known, 1, chance)  # after a kill the order is another
        if kill(torn, *moment):
            killed.append(moment[0])
    assert len(killed) >= 3, killed
    assert torn.json("audit")["status"] in ("green", "amber"), "interrupted is not altered"
    torn.tamis("materialize")
    assert versions(torn) == versions(calm), f"seed {seed}"
    assert_sound(torn)

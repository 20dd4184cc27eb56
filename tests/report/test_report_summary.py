"""The summary of a run: what trials bought, of those that are asked for, by target."""

from typing import Any

from projects import manifest_of, plain_project, record, rows_of, selection, settings, target

from tamis.report.summary import trial_lines

MODEL = '\n[[base_model]]\nname = "m"\npreset = "llama-0.3m"\n'
COMPARED = '\n[comparison]\nmodel = "m"\nselections = ["a", "b"]\n'


def test_trials_are_shown_that_are_asked_for_and_by_the_target_they_were_measured_on(tmp_path):
    chosen = [selection(name, "random", 1, target=of) for name, of in (("a", "goal"), ("b", "other"))]
    text = settings(target(), target("other"), *chosen) + MODEL + COMPARED
    made = plain_project(tmp_path, text)

    def trial(name: str, data: str, loss: float, of: str) -> dict[str, Any]:
        record(made.home, "trials", name, inputs=[manifest_of("target_examples", of)])
        cost = {"size": 1, "tokens": 9, "zero_shot_bits_per_byte": 3.0}
        return {"trial": name, "kind": "warm_up", "model": "m", "data": data, **cost} | {
            "held_out_bits_per_byte": loss
        }

    rows = [
        trial("warm-up__m__b", "b", 1.0, "other"),
        trial("warm-up__m__a", "a", 2.0, "goal"),
        trial("warm-up__old__a", "a", 0.5, "goal"),
    ]
    made.store.append("trials", rows_of("trials", rows))
    assert [line.partition(" (")[0] for line in trial_lines(made.project)] == [
        "Warm-up of m on a, measured on goal: held-out target loss 3.000 -> 2.000 bits per byte",
        "Warm-up of m on b, measured on other: held-out target loss 3.000 -> 1.000 bits per byte",
    ]
    made.reconfigure('selections = ["a", "b"]', 'selections = ["a"]')
    assert [line.partition(" (")[0] for line in trial_lines(made.project)] == [
        "Warm-up of m on a: held-out target loss 3.000 -> 2.000 bits per byte",
    ]
    record(made.home, "trials", "warm-up__m__a", inputs=[manifest_of("target_examples", "other")])
    assert trial_lines(made.project) == [], "of a target that the selection had before"

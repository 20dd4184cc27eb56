"""Filters in the graph: without them nothing is looked at, and a limit looks at no text again."""

from tamis.settings.config import parse_settings


def configure(imagined, **filters) -> None:
    settings = imagined.project.settings
    changed = settings.model_copy(update={"filters": parsed(settings, filters)})
    object.__setattr__(imagined.project, "settings", changed)


def parsed(settings, filters: dict):
    corpora = [entry.model_dump() for entry in settings.corpus]
    return parse_settings({"corpus": corpora, "filters": filters}).filters


def test_without_filters_no_flags_are_made_and_keys_are_what_they_were(imagined):
    assert "document_flags" not in {asset for asset, _key in imagined.materialize()}
    before = imagined.versions()
    configure(imagined, heuristics=["gopher"])
    made = {asset for asset, _key in imagined.materialize()}
    assert {"document_flags", "selected_subset", "sampler_comparison"} <= made
    assert not made & {"embeddings", "near_duplicates", "transport_scores", "documents"}
    configure(imagined)
    imagined.materialize()
    after = imagined.versions()
    assert {entry: after[entry] for entry in before} == before


def test_limits_and_licences_are_the_selections_alone(imagined):
    configure(imagined, heuristics=["gopher"], personal_data="exclude")
    imagined.materialize()
    configure(
        imagined,
        heuristics=["gopher"],
        heuristics_off=["gopher_word_count"],
        personal_data="exclude",
        personal_data_limit=4,
        licences_allowed=["mit"],
        sources_denied=["web__b"],
    )
    made = {asset for asset, _key in imagined.materialize()}
    assert "selected_subset" in made
    assert "document_flags" not in made


def test_flagging_alone_makes_no_selection_again(imagined):
    imagined.materialize()
    configure(imagined, personal_data="flag")
    # The pages show the language that flags found.
    assert {asset for asset, _key in imagined.materialize()} == {"document_flags", "selection_pages"}


def test_a_new_shard_is_flagged_alone(imagined):
    configure(imagined, languages=["en"])
    imagined.materialize()
    imagined.contents["web__c"] = "1"
    made = imagined.materialize()
    assert [key for asset, key in made if asset == "document_flags"] == ["web__c"]


def test_form_is_judged_by_itself_and_switching_the_rule_off_judges_nothing_again(imagined):
    configure(imagined, heuristics=["form"])
    made = {asset for asset, _key in imagined.materialize()}
    assert {"form_model", "form_scores", "selected_subset"} <= made
    assert "document_flags" not in made
    configure(imagined, heuristics=["form"], heuristics_off=["form_implausible"])
    made = {asset for asset, _key in imagined.materialize()}
    assert "selected_subset" in made
    assert not made & {"form_model", "form_scores"}

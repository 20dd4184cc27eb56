"""A pool of which nothing can be read: a mistake in text_column must not look like a fault of Tamis."""

from projects import corpus, make_graph, selection, settings


def test_a_selection_of_no_documents_is_made_and_quarantine_says_why(tmp_path, encoder_cache):
    text = settings(corpus(path="landing", text_column="prose"), selection("any", "random", 5))
    graph = make_graph(tmp_path, encoder_cache, text)
    outcome = graph.try_making()
    assert "selected_subset" not in outcome.failed
    assert graph.store.count("documents") == 0
    assert graph.store.count("decisions") == 0
    assert "missing_text_column" in graph.store.read("quarantine", ["reason"])["reason"].to_list()

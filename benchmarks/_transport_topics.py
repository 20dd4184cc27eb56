"""Choices of topics for the transport benchmark: the plentiful one first, then four rare ones."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, kw_only=True)
class Topic:
    """Rows of one file with this source and this beginning of the label."""

    file: str
    source: str
    label: str = ""

    def rows(self) -> pl.Expr:
        """Which rows of the corpus are of this topic."""
        ours = (pl.col("file") == self.file) & (pl.col("source") == self.source)
        return ours & pl.col("label").fill_null("").str.starts_with(self.label)


CHOICES: dict[str, tuple[Topic, ...]] = {
    "law": (
        Topic(file="p_law", source="dc_code"),
        Topic(file="p_mixed_research", source="patient_leaflets_pil"),
        Topic(file="p_mixed_research", source="problem_reports", label="linux"),
        Topic(file="p_mixed_research", source="abc_news_2006", label="rural"),
        Topic(file="p_mixed_free", source="shakespeare"),
    ),
    "bug reports": (
        Topic(file="p_mixed_research", source="problem_reports"),
        Topic(file="t_imdb_train", source="imdb"),
        Topic(file="p_dialogue", source="schema_guided_dialogue", label="Restaurants"),
        Topic(file="p_arxiv_a", source="arxiv", label="q-bio"),
        Topic(file="p_law", source="dc_acts"),
    ),
    "film reviews": (
        Topic(file="t_imdb_train", source="imdb"),
        Topic(file="t_intent", source="banking77"),
        Topic(file="t_intent", source="clinc150"),
        Topic(file="q_sms_spam", source="sms_spam"),
        Topic(file="p_mixed_free", source="product_reviews_liu"),
    ),
    "dialogue": (
        Topic(file="p_dialogue", source="schema_guided_dialogue"),
        Topic(file="q_clickbait_headlines", source="headlines"),
        Topic(file="t_science_a", source="sci_cite"),
        Topic(file="p_mixed_research", source="abc_news_2006", label="science"),
        Topic(file="p_mixed_free", source="state_union"),
    ),
    "papers": (
        Topic(file="p_arxiv_a", source="arxiv"),
        Topic(file="p_mixed_research", source="patient_leaflets_pil"),
        Topic(file="t_intent", source="banking77"),
        Topic(file="p_law", source="dc_acts"),
        Topic(file="p_mixed_free", source="state_union"),
    ),
    "headlines": (
        Topic(file="q_clickbait_headlines", source="headlines"),
        Topic(file="p_law", source="dc_code"),
        Topic(file="t_imdb_train", source="imdb"),
        Topic(file="q_sms_spam", source="sms_spam"),
        Topic(file="p_mixed_free", source="shakespeare"),
    ),
    "banking questions": (
        Topic(file="t_intent", source="banking77"),
        Topic(file="p_law", source="dc_acts"),
        Topic(file="t_imdb_train", source="imdb"),
        Topic(file="p_arxiv_a", source="arxiv", label="stat"),
        Topic(file="t_goemotions", source="goemotions"),
    ),
    "leaflets": (
        Topic(file="p_mixed_research", source="patient_leaflets_pil"),
        Topic(file="p_arxiv_a", source="arxiv", label="q-bio"),
        Topic(file="p_mixed_free", source="movie_reviews_2004"),
        Topic(file="p_dialogue", source="schema_guided_dialogue", label="Hotels"),
        Topic(file="t_ag_news_train", source="ag_news", label="Business"),
    ),
}
# Topics of one source, which their vectors do not tell apart: reported, and no part of the claim.
OVERLAPPING: dict[str, tuple[Topic, ...]] = {
    "mathematics": (
        Topic(file="p_arxiv_a", source="arxiv", label="math"),
        Topic(file="p_arxiv_a", source="arxiv", label="q-bio"),
        Topic(file="p_arxiv_a", source="arxiv", label="q-fin"),
        Topic(file="p_arxiv_a", source="arxiv", label="astro-ph"),
        Topic(file="p_arxiv_a", source="arxiv", label="stat"),
    ),
    "sport": (
        Topic(file="t_ag_news_train", source="ag_news", label="Sports"),
        Topic(file="t_ag_news_train", source="ag_news", label="World"),
        Topic(file="t_ag_news_train", source="ag_news", label="Business"),
        Topic(file="t_ag_news_train", source="ag_news", label="Sci/Tech"),
        Topic(file="p_mixed_research", source="abc_news_2006", label="science"),
    ),
}

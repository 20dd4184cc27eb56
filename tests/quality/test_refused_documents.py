"""A document that the judge refuses is set aside; a server that refuses everything stops the stage."""

import json
import traceback

import polars as pl
import pytest
from refusing_judge import UNUSABLE, refusing_judge

from tamis.base.errors import PermanentError
from tamis.base.unfit import PLAIN
from tamis.quality import AskLLM, Endpoint, EndpointRejectedError, EndpointUnavailableError
from tamis.quality.endpoint import UNUSABLE_ATTEMPTS, UnusableAnswerError
from tamis.quality.judging import mark_of_judge
from tamis.quality.storing import judge_documents, set_unanswered_aside, unjudged
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

MARK = "zebracrossing"
TEXTS = [f"Water boils at {degrees} degrees on a mountain of that height." for degrees in range(40)]
TEXTS[7] = f"Of the {MARK} nobody may speak, says the filter of the server that was asked."
IDS = [f"{number:032x}" for number in range(40)]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store = Store(tmp_path)
    sizes = {"n_chars": 60, "n_bytes": 60, "language": None, "first_seen": None}
    rows = [{"doc_id": one, "text": text, **sizes} for one, text in zip(IDS, TEXTS, strict=True)]
    store.merge("documents", pl.DataFrame(rows).to_arrow().cast(schema_of("documents")))
    return store


def judge(server, max_tokens=512, attempts=2):
    endpoint = Endpoint(server.url, "m", attempts=attempts, first_wait_seconds=0.01)
    return AskLLM(endpoint, prompt="examples", batch_size=4, max_tokens=max_tokens)


def of_the_marked(verdict):
    return lambda question: verdict if MARK in question else None


def everything_stored(store):
    return json.dumps([store.read(name).to_dicts() for name in store.names() if name != "documents"])


@pytest.mark.parametrize("verdict", [400, 413, 422, "content_filter", "filtered answer", "refused in chunks"])
def test_a_document_that_is_refused_is_set_aside_and_never_asked_about_again(store, verdict):
    with refusing_judge(of_the_marked(verdict)) as server:
        judge_documents(store, judge(server), IDS)
        fingerprint = judge(server).fingerprint
        assert len(server.asked) == len(IDS)
        answers = store.read("scores_judge").sort("doc_id")
        assert answers.filter(pl.col("margin").is_null())["doc_id"].to_list() == [IDS[7]]
        assert set_unanswered_aside(store, IDS, fingerprint) == [IDS[7]]
        (row,) = store.read("quarantine").to_dicts()
        assert (row["reason"], row["excerpt"]) == ("judge_refused", IDS[7])
        if isinstance(verdict, int):
            assert f"status {verdict}" in row["detail"]
            assert "sha256" in row["detail"]
        else:
            assert {"refused in chunks": "status 400"}.get(verdict, "content_filter") in row["detail"]
        assert MARK not in everything_stored(store)
        judge_documents(store, judge(server), unjudged(store, IDS, fingerprint))
        assert len(server.asked) == len(IDS)
        other = judge(server, max_tokens=400)
        judge_documents(store, other, unjudged(store, IDS, other.fingerprint))
        assert len(server.asked) == 2 * len(IDS)


@pytest.mark.parametrize("verdict", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_document_without_a_usable_answer_is_set_aside_after_a_fair_retry(store, verdict):
    with refusing_judge(of_the_marked(verdict)) as server:
        judge_documents(store, judge(server, attempts=5), IDS)
        fingerprint = judge(server).fingerprint
        assert store.count("scores_judge", "margin IS NOT NULL") == len(IDS) - 1
        assert set_unanswered_aside(store, IDS, fingerprint) == [IDS[7]]
        assert sum(MARK in question for question in server.asked) in (1, UNUSABLE_ATTEMPTS)
        (row,) = store.read("quarantine").to_dicts()
        assert row["reason"] in ("judge_refused", "no_score")
        assert "the judge's server" in row["detail"]
        assert "cannot read it" not in row["detail"]
        asked = len(server.asked)
        judge_documents(store, judge(server), unjudged(store, IDS, fingerprint))
        assert len(server.asked) == asked, "what was paid for is not paid for again"


@pytest.mark.parametrize("verdict", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_server_without_any_usable_answer_stops_with_one_line(store, verdict):
    broken = [True]
    with refusing_judge(lambda question: verdict if broken else None) as server:
        with pytest.raises(PermanentError) as caught:
            judge_documents(store, judge(server), IDS)
        assert "\n" not in str(caught.value)
        assert server.url in str(caught.value)
        assert store.count("scores_judge") == store.count("set_aside") == 0
        broken.clear()
        judge_documents(store, judge(server), IDS)
        assert store.count("scores_judge", "margin IS NOT NULL") == len(IDS)


@pytest.mark.parametrize("before", [0, 5])
def test_one_document_alone_is_told_from_a_broken_server_by_a_plain_sentence(store, before):
    with refusing_judge(of_the_marked(UNUSABLE["cut-off JSON"])) as server:
        judge_documents(store, judge(server), IDS[:before])
        judge_documents(store, judge(server), [IDS[7]])
        assert PLAIN in server.asked[-1]
        assert set_unanswered_aside(store, [IDS[7]], judge(server).fingerprint) == [IDS[7]]


def test_a_server_that_breaks_meanwhile_sets_nothing_aside_and_keeps_what_it_has_answered(store):
    answered = []

    def refuse(question):
        answered.append(question)
        return UNUSABLE["HTML"] if len(answered) > 20 else None

    with refusing_judge(refuse) as server:
        with pytest.raises(UnusableAnswerError, match="HTML"):
            judge_documents(store, judge(server), IDS)
        assert store.count("scores_judge") == store.count("scores_judge", "margin IS NOT NULL") == 20
        assert store.count("set_aside") == 0


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ({"code": 429}, EndpointUnavailableError),
        ({"type": "rate_limit_exceeded"}, EndpointUnavailableError),
        ({"code": 401}, EndpointRejectedError),
        ({"code": "insufficient_quota"}, EndpointRejectedError),
    ],
)
def test_an_error_with_status_200_means_what_it_says(store, error, raised):
    body = json.dumps({"error": {"message": f"cannot read {MARK}", **error}}).encode()
    with refusing_judge(of_the_marked(body)) as server, pytest.raises(raised) as caught:
        judge_documents(store, judge(server), IDS)
    assert MARK not in str(caught.value)
    assert store.count("set_aside") == 0


@pytest.mark.parametrize("status", [401, 403, 404, 400])
def test_a_server_that_refuses_everything_stops_with_what_to_do_and_is_asked_again_later(store, status):
    refusing = [True]
    with refusing_judge(lambda question: status if refusing else None) as server:
        with pytest.raises(PermanentError, match=f"status {status}") as caught:
            judge_documents(store, judge(server), IDS)
        assert "[judge]" in str(caught.value)
        assert "cannot read" not in str(caught.value)
        assert MARK not in str(caught.value)
        assert len(server.asked) <= 32
        assert store.count("scores_judge") == 0
        refusing.clear()
        judge_documents(store, judge(server), unjudged(store, IDS, judge(server).fingerprint))
        assert store.count("scores_judge", "margin IS NOT NULL") == len(IDS)


def test_few_documents_of_which_all_are_refused_stop_it_too(store):
    with refusing_judge(lambda question: 422) as server:
        with pytest.raises(PermanentError, match="refused all 3"):
            judge_documents(store, judge(server), IDS[:3])
        assert store.count("scores_judge") == 0


def test_a_new_document_is_set_aside_where_the_server_has_answered_before(store):
    with refusing_judge(of_the_marked(400)) as server:
        judge_documents(store, judge(server), [one for one in IDS if one != IDS[7]])
        judge_documents(store, judge(server), [IDS[7]])
        assert set_unanswered_aside(store, IDS, judge(server).fingerprint) == [IDS[7]]


@pytest.mark.parametrize(("status", "error"), [(401, EndpointRejectedError), (503, EndpointUnavailableError)])
def test_answers_that_were_paid_for_are_kept_when_the_server_fails_in_the_same_batch(store, status, error):
    failing = [True]
    with refusing_judge(lambda question: status if failing and MARK in question else None) as server:
        with pytest.raises(error):
            judge_documents(store, judge(server), IDS[:20])
        paid = store.count("scores_judge")
        assert paid >= len(server.asked) - 4 > 0
        failing.clear()
        before = len(server.asked)
        judge_documents(store, judge(server), unjudged(store, IDS[:20], judge(server).fingerprint))
        assert len(server.asked) == before + 20 - paid
        assert store.count("scores_judge", "margin IS NOT NULL") == 20


def test_a_judge_whose_noise_is_refused_has_no_mark(store):
    known = {text for text in TEXTS if MARK not in text}
    with refusing_judge(lambda question: None if any(one in question for one in known) else 400) as server:
        judge_documents(store, judge(server), IDS)
        sample = pl.DataFrame({"doc_id": IDS, "part": ["train"] * 40})
        assert mark_of_judge(store, judge(server), sample, 0) is None
        asked = len(server.asked)
        assert mark_of_judge(store, judge(server), sample, 0) is None
        assert len(server.asked) == asked


@pytest.fixture
def local(tmp_path, word_tokenizer, save_llama):
    save_llama(tmp_path / "llama", word_tokenizer())
    return AskLLM(tmp_path / "llama", prompt="examples", max_tokens=16)


def break_tokenizer(local, monkeypatch, fails):
    """Let the tokenizer of a local judge fail with a message that repeats what it was given."""
    tokenizer = local.local_judge().tokenizer
    whole = type(tokenizer).__call__

    def failing(self, texts, *arguments, **named):
        if any(fails(text) for text in texts):
            raise IndexError(f"piece id is out of range in {texts}")
        return whole(self, texts, *arguments, **named)

    monkeypatch.setattr(type(tokenizer), "__call__", failing)


def test_a_text_that_the_tokenizer_of_a_local_judge_fails_on_is_set_aside(store, local, monkeypatch):
    break_tokenizer(local, monkeypatch, lambda text: MARK in text)
    judge_documents(store, local, IDS[5:9])
    assert store.count("scores_judge", "margin IS NOT NULL") == 3
    assert set_unanswered_aside(store, IDS[5:9], local.fingerprint) == [IDS[7]]
    assert store.read("quarantine")["reason"].to_list() == ["model_failed"]
    assert MARK not in everything_stored(store)


def test_a_local_judge_whose_tokenizer_fails_on_everything_stops(store, local, monkeypatch):
    break_tokenizer(local, monkeypatch, lambda text: True)
    with pytest.raises(IndexError) as caught:
        judge_documents(store, local, IDS[5:9])
    assert MARK not in "".join(traceback.format_exception(caught.value))
    assert store.count("scores_judge") == 0

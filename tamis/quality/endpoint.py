"""A judge behind an OpenAI-compatible server, such as vLLM: one request a document.

The standard library's HTTP client, so no dependency and no SDK. Only 429, 5xx, broken connections and answers
that cannot be read are tried again, because they are the only ones that change by waiting. A server shows 20
alternatives at most: a "no" that is not among them is below the smallest shown, which is what is stored (a
bound, margins are then too small).

Servers repeat requests in their errors, so of a refusal only the status, a digest of the body and identifiers
that are known here are kept.
"""

import hashlib
import json
import math
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from tamis.base.arguments import as_whole
from tamis.base.errors import BadArgumentError, PermanentError, TransientError, without_secrets
from tamis.base.posting import INVALID, NoRedirects, key_in, names_user, shown_variable
from tamis.base.progress import Advance, ignore
from tamis.quality.prompts import CHAT_REMINDER, Prompt

ALTERNATIVES = 20
LONGEST_WAIT_SECONDS = 30.0
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
DOCUMENT_STATUSES = frozenset({400, 413, 422})
"""Of these one document may be the cause: its length, its characters, or a filter of contents."""
CONTENT_FILTERS = frozenset(
    {"content_filter", "content_policy_violation", "responsible_ai_policy_violation", "safety"}
)
ACCOUNT_CODES = frozenset(
    {
        *("invalid_api_key", "authentication_error", "permission_error", "permission_denied"),
        *("model_not_found", "not_found_error", "insufficient_quota", "billing_hard_limit_reached"),
    }
)
KNOWN_CODES = (
    CONTENT_FILTERS
    | ACCOUNT_CODES
    | {
        *("context_length_exceeded", "string_above_max_length", "invalid_request_error", "invalid_value"),
        *("unsupported_parameter", "unsupported_value", "rate_limit_exceeded", "request_too_large"),
        *("BadRequestError", "NotFoundError", "AuthenticationError", "PermissionDeniedError"),
        *("UnprocessableEntityError", "InternalServerError", "RateLimitError"),
    }
)
"""Values of `code` and `type` in errors of OpenAI, Azure, vLLM and Anthropic that are quoted in messages."""
PASSING_CODES = frozenset({"rate_limit_exceeded", "RateLimitError", "InternalServerError"})
LONGEST_ERROR = 65_536  # bytes of a body that are read for its digest
ROUNDING = 0.01
"""A log-probability may exceed 0 by this much."""
UNUSABLE_ATTEMPTS = 3
"""Answers of status 200 that may have been paid for, though nothing can be done with them."""


class EndpointUnavailableError(TransientError):
    """The endpoint kept failing; says how often it was tried and what the last failure was."""

    def __init__(self, url: str, attempts: int, reason: str) -> None:
        self.url, self.attempts, self.reason = without_secrets(url), attempts, reason
        super().__init__(
            f"the judge's server {self.url} gave no usable answer in {attempts} attempts (last failure: "
            f"{reason}); check url in [judge], and that the server is running"
        )


class EndpointAddressError(PermanentError):
    """The address of the endpoint is none, so nothing was sent."""

    def __init__(self, url: str) -> None:
        self.url = without_secrets(url)
        super().__init__(
            f"the address of the judge's server, {self.url}, is not valid: it names a user, contains a blank "
            "or another character that has to be percent-encoded, or a port that is not a number; correct "
            "url in [judge]"
        )


class EndpointRejectedError(PermanentError):
    """The endpoint refused a request; trying again would not help.

    `detail`: what is known of it, without a word of the server; `code`: the error code that it declared,
    where that is a known one.
    """

    def __init__(self, url: str, status: int, detail: str, cure: str = "", code: str | None = None) -> None:
        self.url, self.status, self.detail, self.code = without_secrets(url), status, detail, code
        super().__init__(
            f"{self.url} answered with status {status} ({detail})" + (f": {cure}" if cure else "")
        )

    @property
    def of_the_document(self) -> bool:
        """True if the document that was asked about may be the cause."""
        if self.code in CONTENT_FILTERS:
            return True
        return self.status in DOCUMENT_STATUSES and self.code not in ACCOUNT_CODES


class UnusableAnswerError(PermanentError):
    """The endpoint answers, but with nothing that can be used, also when it is asked again.

    `problem`: what is wrong, without a word of the server; `numbers`: only the log-probabilities are.
    """

    def __init__(self, url: str, attempts: int, problem: str, numbers: bool = False) -> None:
        self.url, self.attempts, self.problem, self.numbers = url, attempts, problem, numbers
        super().__init__(
            f"the judge's server {url} gave no usable answer in {attempts} attempts with status 200: "
            f"{problem}; check url and model in [judge], and the server's log"
        )


class EndpointRefusesAllError(PermanentError):
    """The endpoint refused every document it was asked about: it or its settings are at fault."""

    def __init__(self, url: str, asked: int, first: str) -> None:
        self.url, self.asked, self.first = url, asked, first
        super().__init__(
            f"{url} refused all {asked} documents (first refusal: {first}), so the cause is the server or "
            "the settings, not the documents; check url, model, prompt and max_tokens in [judge], and "
            "the server's log. No refusal was stored, so the next run asks about these documents again"
        )


class MissingKeyError(PermanentError):
    """The environment variable that should hold the endpoint's key is not set."""

    def __init__(self, variable: str) -> None:
        self.variable = shown_variable(variable)
        super().__init__(
            f"the judge's API key is read from the environment variable {self.variable}, which is not set; "
            "set that variable, or change key_env in [judge]"
        )


class MissingLogProbabilitiesError(PermanentError):
    """The endpoint answered without log-probabilities, without which there is no score."""

    def __init__(self, url: str, model: str) -> None:
        self.url, self.model = without_secrets(url), model
        super().__init__(
            f"{self.url}: model {model!r} returned no log-probabilities for the first answer token; let the "
            f"server return those of the {ALTERNATIVES} most likely tokens "
            f"(vLLM: --max-logprobs {ALTERNATIVES})"
        )


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server that returns log-probabilities.

    url: ".../completions", ".../chat/completions", or their parent (".../v1": chat for the prompt "ask-llm",
    completions for "examples"). key_env: name of the environment variable with the key, None for no key.
    Raises `BadArgumentError` for anything but http and https.
    """

    url: str
    model: str
    key_env: str | None = None
    timeout_seconds: float = field(default=60.0, kw_only=True)
    attempts: int = field(default=5, kw_only=True)
    first_wait_seconds: float = field(default=0.5, kw_only=True)

    def __post_init__(self) -> None:
        if not str(self.url).startswith(("http://", "https://")):
            raise BadArgumentError(
                "url", repr(without_secrets(str(self.url))), "an address that starts with http:// or https://"
            )
        object.__setattr__(self, "attempts", as_whole("attempts", self.attempts, 1))

    def address(self, prompt: Prompt) -> str:
        """The URL that a prompt is sent to."""
        base = self.url.rstrip("/")
        if base.endswith("/completions"):
            return base
        return f"{base}/chat/completions" if prompt.name == "ask-llm" else f"{base}/completions"


def first_token_log_probabilities(
    endpoint: Endpoint, prompt: Prompt, question: str, count_tokens: Advance = ignore
) -> dict[str, float]:
    """Log-probability by token text of the alternatives for the first answer token.

    `count_tokens` gets the tokens that the server says it has read and written. Raises
    `EndpointUnavailableError`, `EndpointRejectedError`, `UnusableAnswerError`, `MissingKeyError`,
    `MissingLogProbabilitiesError`.
    """
    address = endpoint.address(prompt)
    chat = address.endswith("/chat/completions")
    body: dict[str, Any] = {"model": endpoint.model, "max_tokens": 1, "temperature": 0}
    if chat:
        asked = question + CHAT_REMINDER if prompt.name == "ask-llm" else question
        body |= {
            "messages": [{"role": "user", "content": asked}],
            "logprobs": True,
            "top_logprobs": ALTERNATIVES,
        }
    else:
        body |= {"prompt": question, "logprobs": ALTERNATIVES}
    if names_user(address):
        raise EndpointAddressError(address)
    request = urllib.request.Request(
        address,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **_authorization(endpoint)},
        method="POST",
    )
    unusable, failed, asked_wait = 0, "", 0.0
    for attempt in range(endpoint.attempts):
        if attempt:
            backed_off = endpoint.first_wait_seconds * 2 ** (attempt - 1)
            time.sleep(min(max(backed_off, asked_wait), LONGEST_WAIT_SECONDS))
        try:
            return _alternatives(_posted(endpoint, request, count_tokens), endpoint, address, chat)
        except _PassingError as error:
            failed, asked_wait = str(error), error.wait
        except _UnusableError as error:
            unusable, failed, asked_wait = unusable + 1, str(error), 0.0
            if unusable >= min(UNUSABLE_ATTEMPTS, endpoint.attempts):
                raise UnusableAnswerError(address, unusable, failed, error.numbers) from None
    raise EndpointUnavailableError(address, endpoint.attempts, failed)


class _PassingError(Exception):
    """A failure that may pass by waiting; `wait`: the seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        self.wait = wait
        super().__init__(reason)


class _UnusableError(Exception):
    """A problem of an answer of status 200, without a word of it; `numbers`: only its numbers are."""

    def __init__(self, problem: str, numbers: bool = False) -> None:
        self.numbers = numbers
        super().__init__(problem)


def _posted(endpoint: Endpoint, request: urllib.request.Request, count_tokens: Advance) -> Any:
    """Return the answer to one request as JSON values; messages quote nothing of it."""
    opener = urllib.request.build_opener(NoRedirects)
    try:
        with opener.open(request, timeout=endpoint.timeout_seconds) as response:
            try:
                body = response.read()
            except (OSError, HTTPException):  # half an answer, which the message would quote
                raise _UnusableError("it is cut off") from None
    except urllib.error.HTTPError as error:
        if error.code not in RETRIED_STATUSES:
            raise _rejection(error, request.full_url, endpoint) from None
        raise _PassingError(f"status {error.code}", _retry_after(error)) from None
    except INVALID:
        raise EndpointAddressError(request.full_url) from None
    except OSError as error:  # refused, or no answer in time
        raise _PassingError(f"{type(error).__name__}: {error}") from None
    except HTTPException as error:
        raise _UnusableError(f"{type(error).__name__}: it is no answer of HTTP") from None
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        kind = "HTML" if body.lstrip()[:1] == b"<" else "JSON that is cut off or not valid"
        raise _UnusableError(f"it is {kind if body.strip() else 'empty'} ({_size(body)})") from None
    count_tokens(_tokens_used(answer))
    if isinstance(answer, dict) and answer.get("error") and not answer.get("choices"):
        raise _declared_error(answer["error"], body, request.full_url, endpoint)
    return answer


def _declared_error(error: Any, body: bytes, address: str, endpoint: Endpoint) -> Exception:
    """Return what an error means that a server reports with status 200, as some proxies do."""
    stated = error.get("code") if isinstance(error, dict) else None
    status = int(str(stated)) if str(stated).isdecimal() else 0
    code, kind = _declared(body)
    if status in RETRIED_STATUSES or {code, kind} & PASSING_CODES:
        return _PassingError(f"an error with {f'code {status}' if status else code or kind}")
    if (code or kind) in ACCOUNT_CODES | CONTENT_FILTERS or status in (401, 402, 403, 404):
        cure = "check url, model and key_env in [judge], and the server's log"
        said = ", ".join(filter(None, [f"an error with code {status or code or kind}", _size(body)]))
        return EndpointRejectedError(address, status or 200, said, cure, code or kind)
    return _UnusableError(f"it is an error ({', '.join(filter(None, [code, kind, _size(body)]))})")


def _alternatives(answer: Any, endpoint: Endpoint, address: str, chat: bool) -> dict[str, float]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices:
        raise _UnusableError("it holds no choices")
    found = _shown_alternatives(answer, chat)
    if not found and _filtered(answer):
        raise EndpointRejectedError(address, 200, "finish_reason content_filter", code="content_filter")
    if not found:
        raise MissingLogProbabilitiesError(address, endpoint.model)
    if not all(-math.inf < value <= ROUNDING for value in found.values()):
        raise _UnusableError("its log-probabilities are not finite numbers up to 0", numbers=True)
    return found


def _authorization(endpoint: Endpoint) -> dict[str, str]:
    if endpoint.key_env is None:
        return {}
    if not (key := key_in(endpoint.key_env)):
        raise MissingKeyError(endpoint.key_env)
    return {"Authorization": f"Bearer {key}"}


def _retry_after(error: urllib.error.HTTPError) -> float:
    try:
        return float(error.headers.get("Retry-After", 0))
    except ValueError:  # the header may hold a date
        return 0.0


def _rejection(error: urllib.error.HTTPError, address: str, endpoint: Endpoint) -> EndpointRejectedError:
    try:
        body = error.read(LONGEST_ERROR)
    except (OSError, HTTPException):  # cut off; the status says enough
        body = b""
    code, kind = _declared(body)
    said = [*(f"{name} {value}" for name, value in (("code", code), ("type", kind)) if value), _size(body)]
    if error.code in (401, 403):
        named = f"the key in {endpoint.key_env} was not accepted" if endpoint.key_env else "no key was sent"
        cure = f"{named}; set key_env in [judge] to a variable whose key has access to {endpoint.model!r}"
    elif error.code == 404:
        cure = f"the server has no such path, or no model {endpoint.model!r}; check url and model in [judge]"
    else:
        cure = "check url, model, prompt and max_tokens in [judge], and the server's log"
    return EndpointRejectedError(address, error.code, ", ".join(said), cure, code or kind)


def _size(body: bytes) -> str:
    return f"body {len(body):,} bytes, sha256 {hashlib.sha256(body).hexdigest()[:16]}"


def _declared(body: bytes) -> tuple[str | None, str | None]:
    """`code` and `type` of an error, those that are known identifiers; a filter of contents as the code."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return None, None
    inner = error.get("innererror")
    codes = [error.get("code"), inner.get("code") if isinstance(inner, dict) else None]
    known = [code for code in codes if isinstance(code, str) and code in KNOWN_CODES]
    named = error.get("type")
    kind = named if isinstance(named, str) and named in KNOWN_CODES else None
    filters = [code for code in (*known, kind) if code in CONTENT_FILTERS]
    return next(iter([*filters, *known]), None), kind


def _tokens_used(answer: Any) -> int:
    used = answer.get("usage") if isinstance(answer, dict) else None
    total = used.get("total_tokens") if isinstance(used, dict) else None
    return total if isinstance(total, int) else 0


def _filtered(answer: Any) -> bool:
    try:
        return bool(answer["choices"][0]["finish_reason"] == "content_filter")
    except (KeyError, IndexError, TypeError):
        return False


def _shown_alternatives(answer: Any, chat: bool) -> dict[str, float]:
    """Return the alternatives with their log-probabilities, NaN for values that are not numbers."""
    try:
        shown = answer["choices"][0]["logprobs"]
        if chat:
            pairs = [(one["token"], one["logprob"]) for one in shown["content"][0]["top_logprobs"]]
        else:
            pairs = list(shown["top_logprobs"][0].items())
    except (KeyError, IndexError, TypeError, AttributeError):
        return {}
    return {str(token): _as_float(value) for token, value in pairs}


def _as_float(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # an integer of over 308 digits
        return math.nan

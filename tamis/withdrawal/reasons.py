"""Why something is withdrawn: fixed words, since a free text could say what must be forgotten."""

from enum import StrEnum


class WithdrawalReason(StrEnum):
    """The reasons that `tamis withdraw --reason` takes."""

    NOT_STATED = "not_stated"
    OWNER_REQUEST = "owner_request"
    PERSONAL_DATA = "personal_data"
    COPYRIGHT = "copyright"
    LICENCE = "licence"
    LEGAL_ORDER = "legal_order"
    UNSAFE_CONTENT = "unsafe_content"
    MISTAKE = "mistake"

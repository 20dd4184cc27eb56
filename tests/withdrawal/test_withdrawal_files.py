"""Files of the home that a withdrawal goes through: as JSON text, unreadable, of unknown kinds."""

import json

import polars as pl
from withdrawal_home import IDS, TEXTS

from tamis.store.home import Home
from tamis.withdrawal.asking import Asked, Asking, WithdrawalReason
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import withdraw

REASON = WithdrawalReason.COPYRIGHT


def asked(home: Home, *doc_ids: str) -> Asked:
    asking = Asking(store=home.store)
    asking.ids(doc_ids)
    return asking.done()


def test_a_text_in_a_column_that_an_export_writes_as_json_text_goes_with_its_row(home):
    home.exports.mkdir()
    columns = {"doc_id": IDS[1:4], "mixed": [json.dumps(one) for one in (7, TEXTS[0], [{"n": TEXTS[0]}])]}
    pl.DataFrame(columns).write_parquet(home.exports / "best.parquet")
    withdraw(home, asked(home, IDS[0]), REASON)
    assert pl.read_parquet(home.exports / "best.parquet")["doc_id"].to_list() == [IDS[1]]
    pl.DataFrame(columns).write_parquet(home.exports / "best.parquet")
    assert not verify(home).holds

"""Withdrawal: documents that must go, from every byte of the home, and what is left to say about them.

The table of what is withdrawn (`tamis.store.withdrawn`) is the state that everything else follows; `purging`
makes the home follow it at once; receipts (`tamis.records.receipts`) prove it without the text; `tainting`
names the checkpoints that saw it.
"""

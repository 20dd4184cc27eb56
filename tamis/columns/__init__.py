"""Columns of the user's own rows: rows as they are kept or read again, and the values of one column."""

"""Losses and removals: held back, moved, removed, superseded; and the store reconciled with the sources."""

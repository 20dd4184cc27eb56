"""What left the sources: held back, moved, removed, superseded; and the store reconciled with it."""

"""Files of any format become rows, each with its text or the defect that keeps it from having any."""

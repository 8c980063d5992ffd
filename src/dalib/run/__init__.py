"""One run, from opening the data to the report."""

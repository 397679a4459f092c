"""A sandbox server that is hurt on purpose, under load, to see what its callers notice."""

"""Readers and writers of records, one module per format; `base` holds the registry."""

"""Pipelines: sources of pictures go in, records come out, one at a time."""

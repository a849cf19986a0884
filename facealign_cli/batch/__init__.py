"""Folders of millions: a job that can be killed, moved and resumed.

`sources` lists pictures, `work` turns pictures into rows, `pool` runs it in processes, `shards` keeps the rows in files
that `shard_files` makes, `manifest` says what was run on what, and `run` is the job. Importing it loads nothing heavy.
"""

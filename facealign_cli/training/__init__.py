"""Training: the networks, the data pack, the loop, the export. The only place with torch (extra `train`)."""

"""Models: the graph behind a session, the registry of those that are shipped, their check and their speed."""

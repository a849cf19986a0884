"""The engine ray: a job as a Ray Data pipeline over a cluster."""

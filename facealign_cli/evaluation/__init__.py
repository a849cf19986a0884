"""Annotated faces and predictions become figures, by the 300-W protocol. Importing this loads nothing heavy."""

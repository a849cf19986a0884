"""Files of pictures and of results: reading, writing, where they lie. Importing this loads nothing heavy."""

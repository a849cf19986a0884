"""A small web page on this machine for correcting landmarks: `session` holds the work, `app` serves it."""

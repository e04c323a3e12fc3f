"""An index in a folder: arrays in files that are mapped, a manifest that names them, and a journal of what has changed since. Decision 036."""

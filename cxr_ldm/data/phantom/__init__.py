"""Generated radiographs whose truth is known."""

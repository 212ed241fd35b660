"""Images for people: grids, and PNG files that say what they are."""

"""Raw files of a collection, as their publishers lay them out, to records."""

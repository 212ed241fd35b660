"""Model card and data card of a bundle, written from its own files and its measurement alone."""

"""A collection as one folder: how it is made, and read."""

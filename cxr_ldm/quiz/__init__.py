"""Readers and images: a quiz as one file, for teaching and for studies, and what its answers say."""

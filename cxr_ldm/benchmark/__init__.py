"""Measurements of single parts of the project, each a suite of its own."""

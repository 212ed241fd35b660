"""Measures of the pictures themselves."""

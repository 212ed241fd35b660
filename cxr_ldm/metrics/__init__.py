"""Measures of what the models make: functional cores, each number with an outside witness in the tests."""

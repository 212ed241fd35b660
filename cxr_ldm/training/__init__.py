"""Fitting a stage, whichever it is: the run's folder, resuming, precision, callbacks."""

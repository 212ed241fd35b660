"""Looking into a model: attention, layers."""

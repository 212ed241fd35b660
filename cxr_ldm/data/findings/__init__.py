"""What a report's sentences say, and what a classifier learns from them."""

"""How far two sets of images are from each other, by their features."""

"""Does a model give back its training images?"""

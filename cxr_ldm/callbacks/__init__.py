"""Callbacks: averaged weights and pictures while a run goes on."""

"""Runners: how a model that was recognised is answered without its library, and which of them is the fastest."""

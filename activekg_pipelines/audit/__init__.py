"""Compares all that is kept of a connector with its listing, and repairs it."""

"""Compares all that is stored of a connector with its listing, and repairs it."""

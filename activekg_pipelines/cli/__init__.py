"""The command line.

It starts everything on one machine for trying out, and works on the same services as
the API for every day.
"""

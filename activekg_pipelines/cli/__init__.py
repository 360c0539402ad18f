"""The command line: everything on one machine for trying out, and the same services as
the API for every day.
"""

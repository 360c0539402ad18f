"""Databases that the version before this one filled, at revision 0007."""

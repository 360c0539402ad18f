"""What people do to connectors and see of them, for API and command line alike. Knows
neither FastAPI nor typer.
"""

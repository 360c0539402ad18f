"""What people do to connectors and see of them, for API and command line alike.

It knows neither FastAPI nor typer.
"""

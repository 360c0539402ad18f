"""What a sync does with objects: scan, extract, index.

It connects the other rooms, and knows neither Dagster nor FastAPI.
"""

"""Grids of trainings: their runs, results, tables and significance."""

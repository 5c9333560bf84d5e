"""Runs suites of trainings; makes tables and figures of what they reached and chose."""

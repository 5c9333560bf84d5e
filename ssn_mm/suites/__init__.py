"""Grids of trainings: their runs, results, tables and significance."""

from .study import StudyRun, load_results, write_study

__all__ = ['StudyRun', 'load_results', 'write_study']

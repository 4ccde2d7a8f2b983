"""Joins store and pools: claims jobs, has them run, and writes how they ended."""

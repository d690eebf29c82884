"""Sweeps that other programs ran, as tables of trials: rows of text from any kind of source, then what they mean."""

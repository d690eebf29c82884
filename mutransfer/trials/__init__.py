"""What was measured: the table of trials that the analysis takes, and the records of our own sweeps. No torch."""

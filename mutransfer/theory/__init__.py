"""What the literature says, as data with its sources that every room reads. No torch."""

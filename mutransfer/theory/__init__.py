"""What the literature says, as data that every room reads. No torch."""

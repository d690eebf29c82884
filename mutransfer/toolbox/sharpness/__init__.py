"""The largest curvature of the loss, beside what the optimizer can bear."""

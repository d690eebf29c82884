"""What a training step does, looked at while it trains; and the spikes of its loss."""

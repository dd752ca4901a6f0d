"""What the papers' methods share: their base, training, density control, metrics."""

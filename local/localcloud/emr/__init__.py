"""EMR: clusters whose steps run here."""

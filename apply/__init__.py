"""The apply service: topics consumed into one target, with consumer offsets as checkpoints."""

"""What an adapter must do to be called working: one suite for each interface, run on every adapter."""

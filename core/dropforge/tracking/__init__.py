"""What a tracker of experiments takes over from runs and versions, and in which order it is told."""

"""Studies of the watch's statistics on simulated tables, of which the truth is known."""

"""What people type: commands, their options, and what they print."""

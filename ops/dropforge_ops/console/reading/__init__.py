"""What the pages show, read from AWS: plain functions and records, without NiceGUI."""

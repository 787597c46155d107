"""From an object's bytes to blocks of rows: formats, compressions, and where records begin and end."""

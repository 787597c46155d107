"""Models for other kinds of data than plain tables, each with a real table that a package ships."""

"""Real tables, as packages on PyPI ship them, through preparation, training and the gate."""

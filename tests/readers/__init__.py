"""Tables in the dialects that people write, as dropforge, pandas, polars and DuckDB read them."""

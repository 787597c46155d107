"""Tables in object storage, as streams of blocks: the only part that knows the table library."""

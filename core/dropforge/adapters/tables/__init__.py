"""Tables in object storage, as streams of blocks: the only part that knows the table library.

Functions use `streamed_tables`, `chunked_tables` and `batch_tables`. Each puts together what is in `reading`,
`checking`, `writing` and `staging`, of which each knows only those before it.
"""

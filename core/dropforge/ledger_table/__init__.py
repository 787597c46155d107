"""The ledger's table: its keys, how records become items, and who reads them. Nothing here loads an SDK."""

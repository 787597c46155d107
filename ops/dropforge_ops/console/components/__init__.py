"""What pages are made of. Everything takes text as text: nothing from AWS is ever read as HTML."""

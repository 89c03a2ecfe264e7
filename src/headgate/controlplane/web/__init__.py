"""What the HTTP surfaces have in common: what a query may say, and how an answer is written."""

"""Networks from their descriptions: taken from the store if they are there, made once and put there if not."""

"""Published models: their weights under our names, their tokenizer and preparation, and proof that it all fits."""

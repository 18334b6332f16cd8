"""Networks whose activation is chosen by name, one fresh layer per site."""

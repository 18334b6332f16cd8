"""Networks whose activation is chosen by a spec, one fresh layer per site."""

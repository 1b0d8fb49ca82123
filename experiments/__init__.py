"""Pre-registered experiments on the package; nothing imports them."""

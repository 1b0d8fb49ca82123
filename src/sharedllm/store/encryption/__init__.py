"""What is personal in a store, encrypted with a key of each user's own."""

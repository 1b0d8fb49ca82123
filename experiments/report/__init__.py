"""What the bets found: their results as read, on a page and in their accounts."""

"""What can be proven afterwards: the audit log, erasure receipts, and the keys that sign."""

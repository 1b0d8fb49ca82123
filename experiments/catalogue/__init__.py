"""What every bet shares: criteria, inputs, readings, results, and the command line."""

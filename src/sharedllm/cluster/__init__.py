"""Many machines or processes: jobs that outlive one of them."""

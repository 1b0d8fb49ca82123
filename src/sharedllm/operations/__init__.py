"""What a user can ask for, each job once: command line, HTTP and clusters parse, call it, and print."""

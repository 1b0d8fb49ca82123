"""The shapes that clients speak: what may be asked, what is answered, and how errors are told."""

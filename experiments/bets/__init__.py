"""One bet a file, named as its command names it; results beside them."""

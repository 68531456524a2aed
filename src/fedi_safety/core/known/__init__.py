"""Lists of known images: what they say, and what is asked of them."""

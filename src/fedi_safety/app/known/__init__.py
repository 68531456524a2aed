"""Lists of known images in use: taken in, applied to what was judged before, and a person's no that is remembered."""

"""Lists of known images on the disk: read, kept, searched. What a hit means is not decided here."""

"""Review pages: what is left to decide, in a browser, without ever showing a picture. `serving` is the way in."""

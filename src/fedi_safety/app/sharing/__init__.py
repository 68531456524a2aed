"""Lists that instances give each other, in use: what is published, what is believed of others."""

"""The zoo: the stand-in subject in a known frame of every kind of file that can be written here, and what finds it."""

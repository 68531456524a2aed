"""A pass made by workers on many machines: a store's keys in parts, each listed, judged and recorded by one of them.

What passes between driver and workers is keys and counts, never media: what places the work may write it to a disk.
"""

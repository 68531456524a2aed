"""CLIP models as folders on the disk: fetched from a hub, imported, exported, checked, made smaller. Judges nothing."""

"""Evidence about a content, without the content: gathered, written, and sent to an authority by a person's word."""

"""A content as an authority is told of it: a page, a text, drafts of reports. Pure, and never the picture itself."""

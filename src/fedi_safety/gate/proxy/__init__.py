"""The gate as an upload proxy: requests on their way to a server, judged in memory and handed on untouched."""

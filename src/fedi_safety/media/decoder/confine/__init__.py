"""What a decoding process is kept from: files, sockets, other processes."""

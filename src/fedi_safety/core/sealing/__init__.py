"""What is said of sealed copies, and of the law that asks for them."""

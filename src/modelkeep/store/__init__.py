"""What is kept, and where: the only room with SQL, files or connections."""

"""What a job of every stage needs, from the size of its input: memory and time."""

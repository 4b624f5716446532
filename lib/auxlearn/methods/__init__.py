"""What chooses rows or tasks, or weighs them, and what they share. Methods never import one another."""

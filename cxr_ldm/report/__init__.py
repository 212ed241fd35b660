"""What an evaluation found, for people: terminal, HTML, Markdown, W&B."""

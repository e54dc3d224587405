"""The `artcafe` command: a demo, a platform on a laptop, and what an agent's author and an operator need."""

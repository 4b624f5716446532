"""What people read: the session of a notebook, tables, figures, pages. It computes no result of its own."""

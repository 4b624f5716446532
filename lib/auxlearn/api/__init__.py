"""The calls of `auxlearn` itself: select, compare, check. They do what the notebooks do, and no notebook is needed."""

"""A selection inside other programs' training loops.

What lives here turns what auxlearn chose into parts of another library. Nothing here chooses or trains by itself, and
nothing but the command line may use it.
"""

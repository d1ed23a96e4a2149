"""What is measured: one module a topic. Its first line says what, its `LINES` give each line's title and how it is made:
`make(place, title)` gives a `pairs.Line` whose work lies below the folders of the `place`.
"""

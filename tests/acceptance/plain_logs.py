"""Logs of one number a line, that are followed."""

PLAIN = "[dataset.csv]\nheader = false\nfollow = true"
ALL = 'include = ["**/*"]'


def lines(first, count):
    return b"".join(b"%d\n" % n for n in range(first, first + count))


def rows(project):
    found = project.rows()
    return found[:, 0].tolist() if found.shape[1:] == (1,) else found.tolist()

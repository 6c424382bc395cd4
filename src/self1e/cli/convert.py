NAME = "convert"
EXAMPLES = ""


def command() -> None:
    """x"""

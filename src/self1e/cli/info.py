NAME = "info"
EXAMPLES = ""


def command() -> None:
    """x"""

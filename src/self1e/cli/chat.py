NAME = "chat"
EXAMPLES = ""


def command() -> None:
    """x"""

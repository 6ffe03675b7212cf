"""village console: the link that opens the web console."""

from node.cli.talk import call


def console() -> None:
    """Print the link that opens the web console in a browser of this machine, once.

    Example: village console
    """
    from node.cli.show import tell

    tell(call("console.link"), lambda found: [found["link"]])

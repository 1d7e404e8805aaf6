"""The console as a service behind Identity-Aware Proxy: the entry point of its image."""

from speechpipe.client import Client
from speechpipe.console.server import serve_behind_iap
from speechpipe.observe import log
from speechpipe.settings import ConsoleSettings, read


def main() -> None:
    """Read the environment and serve until the process is told to stop. Raises SettingsMissing."""
    settings = read(ConsoleSettings)
    log.configure()
    serve_behind_iap(Client(), audience=settings.audience, host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()

"""Pykka: tell and ask of one ThreadingActor. The callers' questions are in flight at once, from one thread.

A thread for each caller was slower.
"""

from importlib.metadata import version

import pykka
from protocol import BATCH, TELLS, WARM_UP_SECONDS, Request, Timed, repeat, serve


class Echo(pykka.ThreadingActor):
    def on_receive(self, message):
        return message


def main() -> None:
    echo = Echo.start()

    def tell() -> int:
        for number in range(TELLS):
            echo.tell(number)
        echo.ask(0)
        return TELLS

    def measure(request: Request) -> Timed:
        def ask() -> int:
            for number in range(0, BATCH, request.callers):
                futures = [echo.ask(number, block=False) for _ in range(request.callers)]
                for future in futures:
                    assert future.get() == number
            return len(range(0, BATCH, request.callers)) * request.callers

        some = tell if request.measure == "tell" else ask
        repeat(some, WARM_UP_SECONDS)
        return repeat(some, request.seconds)

    facts = {
        "version": f"pykka {version('pykka')}",
        "durability": "memory",
        "settings": {"actor": "ThreadingActor", "ask": "block=False, then get"},
    }
    try:
        serve(facts, measure)
    finally:
        pykka.ActorRegistry.stop_all()


if __name__ == "__main__":
    main()

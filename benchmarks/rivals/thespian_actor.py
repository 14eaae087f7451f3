"""Thespian: tell and ask of one actor in its simpleSystemBase, the fastest that it has.

It runs everything in the caller's thread, so there is one caller and nothing is concurrent. Its bases with processes
are about a hundredth as fast.
"""

from importlib.metadata import version

from protocol import BATCH, TELLS, WARM_UP_SECONDS, Request, Timed, repeat, serve
from thespian.actors import Actor, ActorSystem

BASE = "simpleSystemBase"
QUIET = {"version": 1, "root": {"level": 50, "handlers": []}}


class Echo(Actor):
    def receiveMessage(self, message, sender):
        if message >= 0:
            self.send(sender, message)


def main() -> None:
    system = ActorSystem(BASE, logDefs=QUIET)
    try:
        echo = system.createActor(Echo)

        def tell() -> int:
            for _ in range(TELLS):
                system.tell(echo, -1)
            assert system.ask(echo, 7, 60) == 7
            return TELLS

        def ask() -> int:
            for number in range(BATCH):
                assert system.ask(echo, number, 10) == number
            return BATCH

        def measure(request: Request) -> Timed:
            some = tell if request.measure == "tell" else ask
            repeat(some, WARM_UP_SECONDS)
            return repeat(some, request.seconds)

        facts = {
            "version": f"thespian {version('thespian')}",
            "durability": "memory",
            "settings": {"base": BASE, "callers": "one: it is synchronous"},
        }
        serve(facts, measure)
    finally:
        system.shutdown()


if __name__ == "__main__":
    main()

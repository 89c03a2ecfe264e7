"""A whole system in one event loop on a virtual clock, with a network that fails by seed.

    from headgate.testing.world import World

    world = World(seed=7)
    world.add(Orders(), at="orders-1")
    world.run(story)                            # the same story against real servers: World.real()

`world` says what it is made of, `network` what can be wrong between nodes, `loop` how time passes.
"""

from headgate.testing.world.loop import StuckError, VirtualLoop, virtual_time
from headgate.testing.world.network import Event, Network, Rule
from headgate.testing.world.world import World

__all__ = ["Event", "Network", "Rule", "StuckError", "VirtualLoop", "World", "virtual_time"]

"""Games in worker processes with Pythons of their own, and the supervision that is the same for all of them."""
